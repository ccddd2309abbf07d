//! Messages of D-Bus: the calls that aril makes, and what it hears (D-Bus specification, "Message Protocol").

use super::value::{Reader, Value, Writer};

/// A message may have 128 MiB; what aril hears is far shorter.
const LONGEST: usize = 1 << 24;

const CALL: u8 = 1;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
pub(super) const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
pub(super) const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A method and its arguments.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) arguments: &'a [Value],
}

impl Call<'_> {
    /// As it goes over the wire, with this number.
    pub(super) fn bytes(&self, serial: u32) -> Vec<u8> {
        let fields = vec![
            (PATH, Value::Path(self.path.to_owned())),
            (INTERFACE, Value::str(self.interface)),
            (MEMBER, Value::str(self.member)),
            (DESTINATION, Value::str(self.destination)),
        ];
        encode(CALL, serial, fields, self.arguments)
    }
}

pub(super) fn encode(kind: u8, serial: u32, mut fields: Vec<(u8, Value)>, values: &[Value]) -> Vec<u8> {
    let mut body = Writer::default();
    values.iter().for_each(|value| body.put(value));
    if !values.is_empty() {
        fields.push((SIGNATURE, Value::Signature(values.iter().map(Value::signature).collect())));
    }
    let fields = fields.into_iter().map(|(code, value)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]));
    let mut message = Writer(vec![b'l', kind, 0, 1]);
    message.put(&Value::U32(u32::try_from(body.0.len()).unwrap_or(u32::MAX)));
    message.put(&Value::U32(serial));
    message.put(&Value::Array("(yv)".to_owned(), fields.collect()));
    message.pad(8);
    message.0.extend(body.0);
    message.0
}

/// What is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// The answer to the call of this number.
    Return(u32, Vec<Value>),
    /// The refusal of the call of this number: the error's name and its text.
    Error(u32, String, String),
    /// A signal: its name and what it says.
    Signal(String, Vec<Value>),
    /// Anything else.
    Other,
}

impl Heard {
    /// The first message of the bytes, and how many it takes. None of it while it is not whole; an error where it is no message.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Heard, usize)>, &'static str> {
        let Some(&[order, kind, _, version, ..]) = bytes.get(..16) else { return Ok(None) };
        if order != b'l' || version != 1 {
            return Err("the bus speaks no D-Bus of version 1 in this machine's byte order");
        }
        let mut header = Reader::new(bytes);
        header.at = 4;
        let mut length = || Some((header.u32()?, header.u32()?, header.u32()?));
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let Some((body, _, fields)) = length() else { return Ok(None) };
        let begin = number(fields).saturating_add(16).min(LONGEST).next_multiple_of(8);
        let end = begin.saturating_add(number(body));
        if end > LONGEST {
            return Err("the bus sent a message of unlikely length");
        }
        let Some(message) = bytes.get(..end) else { return Ok(None) };
        let heard = parse_whole(kind, &message[..16 + number(fields)], &message[begin..]);
        Ok(Some((heard.unwrap_or(Heard::Other), end)))
    }
}

fn parse_whole(kind: u8, header: &[u8], body: &[u8]) -> Option<Heard> {
    let mut reader = Reader::new(header);
    reader.at = 16;
    let (mut serial, mut member, mut error, mut signature) = (0, String::new(), String::new(), String::new());
    while reader.at < header.len() {
        reader.pad(8);
        let code = reader.byte()?;
        let of = reader.signature()?;
        match (code, reader.basic(*of.as_bytes().first()?)?) {
            (REPLY_SERIAL, Value::U32(number)) => serial = number,
            (MEMBER, Value::Str(text)) => member = text,
            (ERROR_NAME, Value::Str(text)) => error = text,
            (SIGNATURE, Value::Signature(text)) => signature = text,
            _ => {}
        }
    }
    let mut reader = Reader::new(body);
    let values: Vec<Value> = signature.bytes().map_while(|kind| reader.basic(kind)).collect();
    match (kind, values.first()) {
        (2, _) => Some(Heard::Return(serial, values)),
        (3, Some(Value::Str(text))) => Some(Heard::Error(serial, error, text.clone())),
        (3, _) => Some(Heard::Error(serial, error, String::new())),
        (4, _) => Some(Heard::Signal(member, values)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Vec<u8> {
        let arguments = [Value::str("x.scope"), Value::str("fail")];
        Call { destination: "a.b", path: "/a/b", interface: "a.b.C", member: "Do", arguments: &arguments }.bytes(3)
    }

    #[test]
    fn a_call_is_a_header_on_eight_bytes_and_a_body() {
        let bytes = call();
        assert_eq!(bytes[..12], *b"l\x01\0\x01\x15\0\0\0\x03\0\0\0");
        assert!(bytes.len() - 0x15 == (bytes.len() - 0x15).next_multiple_of(8), "{bytes:?}");
        assert_eq!(bytes[bytes.len() - 0x15..], *b"\x07\0\0\0x.scope\0\x04\0\0\0fail\0"[..0x15].to_vec());
    }

    #[test]
    fn what_is_heard_is_understood_when_it_is_whole() {
        // The same message as a signal: only its kind differs.
        let mut bytes = call();
        bytes[1] = 4;
        for end in 0..bytes.len() {
            assert_eq!(Heard::parse(&bytes[..end]), Ok(None), "{end}");
        }
        let signal = Heard::Signal("Do".to_owned(), vec![Value::str("x.scope"), Value::str("fail")]);
        bytes.extend(b"rest");
        assert_eq!(Heard::parse(&bytes), Ok(Some((signal, bytes.len() - 4))));
        assert!(Heard::parse(b"B\x04\0\x01\0\0\0\0\0\0\0\0\0\0\0\0").is_err());
        assert!(Heard::parse(b"l\x04\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0").is_err());
    }

    /// Whatever the bytes are: no panic, and no more taken than there are.
    #[test]
    fn broken_messages_are_no_trouble() {
        let good = call();
        for at in 0..good.len() {
            for change in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= change;
                bytes[1] = 3;
                if let Ok(Some((_, end))) = Heard::parse(&bytes) {
                    assert!(end <= bytes.len());
                }
            }
        }
    }
}
