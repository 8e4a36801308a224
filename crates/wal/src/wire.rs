//! The part of protobuf that the log needs, by hand: records are written millions of times, and
//! what is read back has been checked for size before.

/// Bytes that are not the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub(crate) &'static str);

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Number(u64),
    /// Four or eight bytes. None of our messages has such a field; newer ones may.
    Fixed,
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(crate) fn number(self) -> Result<u64, DecodeError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Fixed | Self::Bytes(_) => Err(DecodeError("a field has the wrong type")),
        }
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], DecodeError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Fixed | Self::Number(_) => Err(DecodeError("a field has the wrong type")),
        }
    }
}

/// The fields of a message, in the order of its bytes.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns the next field's number and value.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = take_number(&mut self.rest)?;
        let value = match tag & 7 {
            0 => Value::Number(take_number(&mut self.rest)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = take_number(&mut self.rest)?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(DecodeError("a field has an unknown type")),
        };
        match tag >> 3 {
            0 => Err(DecodeError("a field has the number 0")),
            field => Ok(Some((field, value))),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.rest.len());
        let (taken, rest) = self.rest.split_at(len.ok_or(CUT)?);
        self.rest = rest;
        Ok(taken)
    }
}

const CUT: DecodeError = DecodeError("the message ends within a field");

/// Takes a variable-length number off the front of `bytes`.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(CUT)?;
        *bytes = rest;
        let bits = u64::from(first & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        number |= bits << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(DecodeError("a number has more than 64 bits"))
}

pub(crate) fn put_number(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
}

/// Returns how many bytes [`put_number`] writes.
pub(crate) fn number_len(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes a field that is a number.
pub(crate) fn put_field(buffer: &mut Vec<u8>, field: u8, number: u64) {
    buffer.push(field << 3);
    put_number(buffer, number);
}

/// Writes the head of a field of `len` bytes, which must follow.
pub(crate) fn put_bytes_head(buffer: &mut Vec<u8>, field: u8, len: usize) {
    buffer.push(field << 3 | 2);
    put_number(buffer, len as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_at_every_length() {
        let edges = (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit]).chain([u64::MAX]);
        for number in edges {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(bytes.len(), number_len(number), "{number}");
            let mut rest = bytes.as_slice();
            assert_eq!(take_number(&mut rest), Ok(number));
            assert!(rest.is_empty());
            take_number(&mut &bytes[..bytes.len() - 1]).unwrap_err();
        }
    }

    #[test]
    fn broken_messages_are_refused() {
        let broken: [&[u8]; 7] = [
            &[0x08],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x12, 0x02, 0x00],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x00, 0x00],
            &[0x0b],
            &[0x0d, 0, 0, 0],
        ];
        for bytes in broken {
            Fields::new(bytes).next().unwrap_err();
        }
    }
}
