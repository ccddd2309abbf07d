//! D-Bus values and how they stand in a message (D-Bus specification, "Type System" and "Marshaling"; here always little-endian).

/// A value. Doubles are kept by their bits, so that values can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cgroup) enum Value {
    Byte(u8),
    Bool(bool),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(u64),
    Str(String),
    Path(String),
    Signature(String),
    /// The signature of the elements, and these.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    /// An element of an array that is a dictionary.
    Entry(Box<(Value, Value)>),
    Variant(Box<Value>),
}

impl Value {
    pub(in crate::cgroup) fn str(text: &str) -> Value {
        Value::Str(text.to_owned())
    }

    /// `ay`
    pub(in crate::cgroup) fn bytes(bytes: &[u8]) -> Value {
        Value::Array("y".to_owned(), bytes.iter().map(|byte| Value::Byte(*byte)).collect())
    }

    pub(super) fn signature(&self) -> String {
        let all = |values: &[Value]| values.iter().map(Value::signature).collect::<String>();
        match self {
            Value::Byte(_) => "y".to_owned(),
            Value::Bool(_) => "b".to_owned(),
            Value::I16(_) => "n".to_owned(),
            Value::U16(_) => "q".to_owned(),
            Value::I32(_) => "i".to_owned(),
            Value::U32(_) => "u".to_owned(),
            Value::I64(_) => "x".to_owned(),
            Value::U64(_) => "t".to_owned(),
            Value::Double(_) => "d".to_owned(),
            Value::Str(_) => "s".to_owned(),
            Value::Path(_) => "o".to_owned(),
            Value::Signature(_) => "g".to_owned(),
            Value::Array(of, _) => format!("a{of}"),
            Value::Struct(fields) => format!("({})", all(fields)),
            Value::Entry(entry) => format!("{{{}{}}}", entry.0.signature(), entry.1.signature()),
            Value::Variant(_) => "v".to_owned(),
        }
    }
}

/// The boundary on which values of a signature begin.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

/// A message, or its body, as it is written.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn pad(&mut self, boundary: usize) {
        self.0.resize(self.0.len().next_multiple_of(boundary), 0);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.pad(N);
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.number(length(text.len()).to_le_bytes());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    pub(super) fn put(&mut self, value: &Value) {
        match value {
            Value::Byte(byte) => self.0.push(*byte),
            Value::Bool(on) => self.number(u32::from(*on).to_le_bytes()),
            Value::I16(number) => self.number(number.to_le_bytes()),
            Value::U16(number) => self.number(number.to_le_bytes()),
            Value::I32(number) => self.number(number.to_le_bytes()),
            Value::U32(number) => self.number(number.to_le_bytes()),
            Value::I64(number) => self.number(number.to_le_bytes()),
            Value::U64(number) | Value::Double(number) => self.number(number.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => self.text(text),
            Value::Signature(signature) => self.signature(signature),
            Value::Array(of, elements) => self.array(of, elements),
            Value::Struct(fields) => {
                self.pad(8);
                fields.iter().for_each(|field| self.put(field));
            }
            Value::Entry(entry) => {
                self.pad(8);
                self.put(&entry.0);
                self.put(&entry.1);
            }
            Value::Variant(value) => {
                self.signature(&value.signature());
                self.put(value);
            }
        }
    }

    /// The length of an array counts neither itself nor the padding before the first element.
    fn array(&mut self, of: &str, elements: &[Value]) {
        self.number([0; 4]);
        let at = self.0.len();
        self.pad(alignment(of));
        let begin = self.0.len();
        elements.iter().for_each(|element| self.put(element));
        let len = length(self.0.len() - begin);
        self.0[at - 4..at].copy_from_slice(&len.to_le_bytes());
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A message, or its body, as it is read. Nothing where it is cut short or is none.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(super) fn pad(&mut self, boundary: usize) {
        self.at = self.at.next_multiple_of(boundary);
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.pad(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self, len: usize) -> Option<String> {
        let text = self.take(len.checked_add(1)?)?;
        String::from_utf8(text[..len].to_vec()).ok()
    }

    pub(super) fn signature(&mut self) -> Option<String> {
        let len = self.byte()?;
        self.text(len.into())
    }

    /// A number or a text: what aril reads of replies and signals.
    pub(super) fn basic(&mut self, kind: u8) -> Option<Value> {
        match kind {
            b'y' => self.byte().map(Value::Byte),
            b'b' => self.u32().map(|on| Value::Bool(on != 0)),
            b'u' => self.u32().map(Value::U32),
            b'i' => self.u32().map(|number| Value::I32(number.cast_signed())),
            b's' | b'o' => {
                let len = usize::try_from(self.u32()?).ok()?;
                let text = self.text(len)?;
                Some(if kind == b's' { Value::Str(text) } else { Value::Path(text) })
            }
            b'g' => self.signature().map(Value::Signature),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.put(value);
        writer.0
    }

    /// The examples are worked out by hand from the specification's rules.
    #[test]
    fn values_are_aligned_and_counted() {
        let property = Value::Struct(vec![Value::str("Delegate"), Value::Variant(Box::new(Value::Bool(true)))]);
        assert_eq!(property.signature(), "(sv)");
        let expected = [b"\x08\0\0\0Delegate\0\x01b\0".as_slice(), b"\x01\0\0\0"].concat();
        assert_eq!(written(&property), expected);
        // The length of an array does not count the padding before its first element.
        let array = Value::Array("t".to_owned(), vec![Value::U64(1), Value::U64(u64::MAX)]);
        assert_eq!(written(&array), [b"\x10\0\0\0\0\0\0\0".as_slice(), &1_u64.to_le_bytes(), &[0xff; 8]].concat());
        let empty = Value::Array("(st)".to_owned(), Vec::new());
        assert_eq!((empty.signature(), written(&empty)), ("a(st)".to_owned(), vec![0; 8]));
        assert_eq!(written(&Value::bytes(&[3, 1])), b"\x02\0\0\0\x03\x01");
        let entry = Value::Array("{sv}".to_owned(), Vec::new());
        assert_eq!(entry.signature(), "a{sv}");
    }

    #[test]
    fn texts_and_numbers_are_read_back() {
        let values = [Value::U32(7), Value::str("a"), Value::Path("/b/c".to_owned()), Value::Signature("a{sv}".to_owned()), Value::Byte(9)];
        let mut writer = Writer::default();
        values.iter().for_each(|value| writer.put(value));
        let mut reader = Reader::new(&writer.0);
        for (kind, value) in b"usogy".iter().zip(values) {
            assert_eq!(reader.basic(*kind), Some(value));
        }
        assert_eq!(reader.basic(b'u'), None);
        // A length that leads out of the message.
        assert_eq!(Reader::new(b"\xff\xff\xff\xffabc").basic(b's'), None);
    }
}
