//! Bytes on the wire: little-endian integers, and strings with their length before and a NUL after, so that the executor can hand them to
//! the kernel where they lie.

use core::ffi::CStr;

/// Where encoded bytes go.
pub type Out<'o> = dyn FnMut(&[u8]) + 'o;

/// What is left to decode.
pub struct In<'a>(pub &'a [u8]);

impl<'a> In<'a> {
    /// The next `n` bytes, or `None` where fewer are left.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }
}

/// A value that can stand in a step.
pub trait Wire<'a>: Sized {
    /// Hands the encoded bytes to `out`.
    fn encode(&self, out: &mut Out<'_>);
    /// Reads the value back; `None` if the bytes do not hold one.
    fn decode(from: &mut In<'a>) -> Option<Self>;
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Wire<'_> for $t {
            fn encode(&self, out: &mut Out<'_>) {
                out(&self.to_le_bytes());
            }
            fn decode(from: &mut In<'_>) -> Option<Self> {
                Some(<$t>::from_le_bytes(from.take(size_of::<$t>())?.try_into().ok()?))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i32, i64);

impl Wire<'_> for bool {
    fn encode(&self, out: &mut Out<'_>) {
        out(&[u8::from(*self)]);
    }
    fn decode(from: &mut In<'_>) -> Option<Self> {
        match u8::decode(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

fn encode_len(len: usize, out: &mut Out<'_>) {
    // A plan is far below 4 GiB: the host refuses configurations over 64 MiB. Were it not, the decoder would refuse the shorter length.
    u32::try_from(len).unwrap_or(u32::MAX).encode(out);
}

impl<'a> Wire<'a> for &'a [u8] {
    fn encode(&self, out: &mut Out<'_>) {
        encode_len(self.len(), out);
        out(self);
    }
    fn decode(from: &mut In<'a>) -> Option<Self> {
        let len = u32::decode(from)?;
        from.take(len as usize)
    }
}

impl<'a> Wire<'a> for &'a CStr {
    fn encode(&self, out: &mut Out<'_>) {
        self.to_bytes_with_nul().encode(out);
    }
    fn decode(from: &mut In<'a>) -> Option<Self> {
        CStr::from_bytes_with_nul(<&[u8]>::decode(from)?).ok()
    }
}

/// A list of C strings, each with its NUL, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct List<'a> {
    bytes: &'a [u8],
}

impl<'a> List<'a> {
    /// `bytes` must be empty or end with a NUL; `None` if they do not.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        matches!(bytes.last(), None | Some(0)).then_some(List { bytes })
    }

    /// The strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a CStr> + use<'a> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let item = CStr::from_bytes_until_nul(rest).ok()?;
            rest = &rest[item.to_bytes_with_nul().len()..];
            Some(item)
        })
    }

    /// How many strings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl core::fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Wire<'a> for List<'a> {
    fn encode(&self, out: &mut Out<'_>) {
        self.bytes.encode(out);
    }
    fn decode(from: &mut In<'a>) -> Option<Self> {
        List::new(<&[u8]>::decode(from)?)
    }
}
