//! Values of properties as annotations spell them: GVariant's text format (GLib, "GVariant Text Format"), without maybe types, which D-Bus lacks.

use super::value::Value;

/// Deeper than any property's value.
const DEEPEST: usize = 16;

/// The value that a text spells: `true`, `5`, `uint64 5`, `'text'`, `["a", "b"]`, `@as []`, `(1, 2)`.
///
/// # Errors
/// What is wrong, as a clause.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text, depth: 0 };
    let value = parser.value(None)?;
    parser.space();
    if parser.rest.is_empty() { Ok(value) } else { Err(format!("has {:?} after its end", parser.rest)) }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

const KEYWORDS: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, what: char) -> bool {
        self.space();
        let after = self.rest.strip_prefix(what);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'))).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// A value; `of` is the signature that it has to have.
    fn value(&mut self, of: Option<&str>) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("is nested too deep".to_owned());
        }
        self.space();
        let value = match self.rest.chars().next() {
            None => Err("ends too early".to_owned()),
            Some('@') => self.typed(),
            Some('\'' | '"') => self.string().and_then(|text| text_of(of, text)),
            Some('[') => self.array(of),
            Some('(') => self.tuple(of),
            Some('{') => self.dictionary(of),
            Some('<') => self.variant(),
            Some('b') if self.rest[1..].starts_with(['\'', '"']) => self.bytes(),
            Some(_) => self.bare(of),
        }?;
        self.depth -= 1;
        match of {
            Some(of) if value.signature() != of => Err(format!("has a value of type {} where one of type {of} is due", value.signature())),
            _ => Ok(value),
        }
    }

    fn typed(&mut self) -> Result<Value, String> {
        let rest = &self.rest[1..];
        let end = one_type(rest).ok_or("has a signature that is none after @")?;
        let (signature, after) = rest.split_at(end);
        self.rest = after;
        self.value(Some(signature))
    }

    /// A number, a boolean, or a type's name and a value.
    fn bare(&mut self, of: Option<&str>) -> Result<Value, String> {
        let word = self.word();
        if let Some((_, signature)) = KEYWORDS.iter().find(|(name, _)| *name == word) {
            return self.value(Some(signature));
        }
        match word {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "" => return Err(format!("cannot be understood at {:?}", self.rest)),
            _ => {}
        }
        let fraction =
            || !word.starts_with("0x") && word.contains(['.', 'e', 'E']) || matches!(word.trim_start_matches('-'), "inf" | "nan");
        let of = of.unwrap_or(if fraction() { "d" } else { "i" });
        number(of, word).ok_or_else(|| format!("has {word:?}, which is no number of type {of}"))
    }

    fn string(&mut self) -> Result<String, String> {
        let mut characters = self.rest.chars();
        let quote = characters.next();
        let mut text = String::new();
        while let Some(character) = characters.next() {
            match character {
                c if Some(c) == quote => {
                    self.rest = characters.as_str();
                    return Ok(text);
                }
                '\\' => text.push(escape(&mut characters).ok_or("has a backslash before what cannot be escaped")?),
                c => text.push(c),
            }
        }
        Err("has a text without an end".to_owned())
    }

    /// `b'text'`: bytes, with the zero that ends it.
    fn bytes(&mut self) -> Result<Value, String> {
        self.rest = &self.rest[1..];
        let mut text = self.string()?.into_bytes();
        text.push(0);
        Ok(Value::bytes(&text))
    }

    fn list(&mut self, close: char, mut one: impl FnMut(&mut Self, usize) -> Result<(), String>) -> Result<(), String> {
        self.rest = &self.rest[1..];
        let mut index = 0;
        while !self.eat(close) {
            if index > 0 && !self.eat(',') {
                return Err(format!("lacks {close:?}"));
            }
            // A tuple of one ends with a comma.
            if index > 0 && self.eat(close) {
                break;
            }
            one(self, index)?;
            index += 1;
        }
        Ok(())
    }

    fn array(&mut self, of: Option<&str>) -> Result<Value, String> {
        let mut element = of.and_then(|of| of.strip_prefix('a')).map(str::to_owned);
        let mut elements = Vec::new();
        self.list(']', |parser, _| {
            let value = parser.value(element.as_deref())?;
            element.get_or_insert_with(|| value.signature());
            elements.push(value);
            Ok(())
        })?;
        let element = element.ok_or("is an array without elements, which needs its type before it: @as []")?;
        Ok(Value::Array(element, elements))
    }

    fn tuple(&mut self, of: Option<&str>) -> Result<Value, String> {
        let mut types = of.and_then(|of| of.strip_prefix('(')).map(str::to_owned);
        let mut fields = Vec::new();
        self.list(')', |parser, _| {
            let field = types.as_deref().and_then(|types| types.get(..one_type(types)?)).map(str::to_owned);
            if let (Some(types), Some(field)) = (&mut types, &field) {
                types.drain(..field.len());
            }
            fields.push(parser.value(field.as_deref())?);
            Ok(())
        })?;
        if fields.is_empty() { Err("has an empty tuple, which D-Bus lacks".to_owned()) } else { Ok(Value::Struct(fields)) }
    }

    fn dictionary(&mut self, of: Option<&str>) -> Result<Value, String> {
        let types = of.and_then(|of| of.strip_prefix("a{")).and_then(|of| of.strip_suffix('}'));
        let mut types = types.and_then(|types| types.split_at_checked(1)).map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut entries = Vec::new();
        self.list('}', |parser, _| {
            let key = parser.value(types.as_ref().map(|types| types.0.as_str()))?;
            if !parser.eat(':') {
                return Err("has a dictionary with a key that no \":\" follows".to_owned());
            }
            let value = parser.value(types.as_ref().map(|types| types.1.as_str()))?;
            types.get_or_insert_with(|| (key.signature(), value.signature()));
            entries.push(Value::Entry(Box::new((key, value))));
            Ok(())
        })?;
        let (key, value) = types.ok_or("is a dictionary without entries, which needs its type before it: @a{ss} {}")?;
        Ok(Value::Array(format!("{{{key}{value}}}"), entries))
    }

    fn variant(&mut self) -> Result<Value, String> {
        self.rest = &self.rest[1..];
        let value = self.value(None)?;
        if self.eat('>') { Ok(Value::Variant(Box::new(value))) } else { Err("lacks \">\"".to_owned()) }
    }
}

/// How long the first complete type of a signature is.
fn one_type(signature: &str) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, c) in signature.char_indices() {
        match c {
            'a' => continue,
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.checked_sub(1)?,
            'y' | 'b' | 'n' | 'q' | 'i' | 'u' | 'x' | 't' | 'd' | 's' | 'o' | 'g' | 'v' => {}
            _ => return None,
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

fn text_of(of: Option<&str>, text: String) -> Result<Value, String> {
    if text.contains('\0') {
        return Err("has a text with a zero in it".to_owned());
    }
    Ok(match of {
        Some("o") => Value::Path(text),
        Some("g") => Value::Signature(text),
        _ => Value::Str(text),
    })
}

fn number(of: &str, word: &str) -> Option<Value> {
    if of == "d" {
        return word.parse::<f64>().ok().map(|number| Value::Double(number.to_bits()));
    }
    let (negative, digits) = word.strip_prefix('-').map_or((false, word.strip_prefix('+').unwrap_or(word)), |digits| (true, digits));
    let (radix, digits) = match digits {
        _ if digits.starts_with("0x") => (16, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let number = if negative { -number } else { number };
    match of {
        "y" => number.try_into().ok().map(Value::Byte),
        "n" => number.try_into().ok().map(Value::I16),
        "q" => number.try_into().ok().map(Value::U16),
        "i" => number.try_into().ok().map(Value::I32),
        "u" => number.try_into().ok().map(Value::U32),
        "x" => number.try_into().ok().map(Value::I64),
        "t" => number.try_into().ok().map(Value::U64),
        _ => None,
    }
}

/// What stands after a backslash.
fn escape(characters: &mut std::str::Chars<'_>) -> Option<char> {
    let digits = match characters.next()? {
        'u' => 4,
        'U' => 8,
        'a' => return Some('\u{7}'),
        'b' => return Some('\u{8}'),
        'f' => return Some('\u{c}'),
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        'v' => return Some('\u{b}'),
        c @ ('\\' | '\'' | '"') => return Some(c),
        _ => return None,
    };
    let text: String = characters.by_ref().take(digits).collect();
    char::from_u32(u32::from_str_radix(&text, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_format_spells() {
        let strings = |values: &[&str]| Value::Array("s".to_owned(), values.iter().map(|text| Value::str(text)).collect());
        let spelled = [
            ("true", Value::Bool(true)),
            (" 5 ", Value::I32(5)),
            ("-0x10", Value::I32(-16)),
            ("uint64 18446744073709551615", Value::U64(u64::MAX)),
            ("@t 5", Value::U64(5)),
            ("byte 255", Value::Byte(255)),
            ("1.5", Value::Double(1.5_f64.to_bits())),
            ("double 2", Value::Double(2.0_f64.to_bits())),
            ("'it\\'s'", Value::str("it's")),
            ("\"a\\u00fc\\n\"", Value::str("a\u{fc}\n")),
            ("objectpath '/a'", Value::Path("/a".to_owned())),
            ("['a', \"b\"]", strings(&["a", "b"])),
            ("@as []", strings(&[])),
            ("(1, 'x')", Value::Struct(vec![Value::I32(1), Value::str("x")])),
            ("@(ts) (1, 'x')", Value::Struct(vec![Value::U64(1), Value::str("x")])),
            (
                "@a(st) [('/dev/null', 5)]",
                Value::Array("(st)".to_owned(), vec![Value::Struct(vec![Value::str("/dev/null"), Value::U64(5)])]),
            ),
            ("(1,)", Value::Struct(vec![Value::I32(1)])),
            ("<'v'>", Value::Variant(Box::new(Value::str("v")))),
            ("b'ab'", Value::bytes(b"ab\0")),
            ("{'k': 1}", Value::Array("{si}".to_owned(), vec![Value::Entry(Box::new((Value::str("k"), Value::I32(1))))])),
        ];
        for (text, value) in spelled {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_it_does_not_spell_is_refused() {
        let wrong = [
            "",
            "5 6",
            "'a",
            "[",
            "[]",
            "()",
            "{}",
            "uint32 -1",
            "byte 256",
            "2147483648",
            "@",
            "@z 1",
            "@as ['a', 1]",
            "nonsense",
            "'\\x'",
            "<1",
            "{1 2}",
            "[1 2]",
            "'\\u0000'",
            "é",
        ];
        for text in wrong {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
        assert!(parse(&"[".repeat(10_000)).is_err());
    }
}
