//! Thrift's compact protocol, as far as the numbers in it are concerned: what Parquet says about its
//! pages and columns is looked through before memory is given to it
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>).

use std::io::{self, Read};

use anyhow::{Context, bail, ensure};

/// Most structs, lists and maps in each other.
const DEEPEST: usize = 32;

/// What stands in a field, or in an element of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Int(i64),
    Bool(bool),
    /// A text or bytes.
    Bytes,
    /// The beginning of a list, and how many elements it says to have.
    List(u64),
    Struct,
    Other,
}

/// What is done with what stands in a field. The field is named by its own number and those of the
/// structs around it; elements of a list have the name of the list.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[i16], Found) -> anyhow::Result<()>;

/// Reads a struct with all that is in it; the number of its bytes.
pub(super) fn read(reader: impl Read, visit: Visit<'_>) -> anyhow::Result<u64> {
    let mut thrift = Thrift { reader, taken: 0, depth: 0, path: Vec::new() };
    thrift.fields(visit)?;
    Ok(thrift.taken)
}

struct Thrift<R> {
    reader: R,
    /// Bytes that were read.
    taken: u64,
    depth: usize,
    /// The name of the field that is being read.
    path: Vec<i16>,
}

impl<R: Read> Thrift<R> {
    /// Reads the fields of a struct.
    fn fields(&mut self, visit: Visit<'_>) -> anyhow::Result<()> {
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if kind == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => i16::try_from(self.int()?)?,
                delta => id.checked_add(delta.into()).context("found too many fields")?,
            };
            self.path.push(id);
            match kind {
                1 | 2 => visit(&self.path, Found::Bool(kind == 1))?,
                _ => self.value(kind, visit)?,
            }
            self.path.pop();
        }
    }

    /// Reads a value of a kind; a truth value as it stands in lists.
    fn value(&mut self, kind: u8, visit: Visit<'_>) -> anyhow::Result<()> {
        self.depth += 1;
        ensure!(self.depth <= DEEPEST, "found values in each other, more than {DEEPEST} times");
        let found = match kind {
            1 | 2 => Found::Bool(self.byte()? == 1),
            3 => Found::Int(i64::from(self.byte()? as i8)),
            4..=6 => Found::Int(self.int()?),
            7 => self.skip(8, Found::Other)?,
            8 => {
                let n = self.number()?;
                self.skip(n, Found::Bytes)?
            }
            9 | 10 => {
                let head = self.byte()?;
                let n = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
                visit(&self.path, Found::List(n))?;
                for _ in 0..n {
                    self.value(head & 0x0f, visit)?;
                }
                Found::Other
            }
            11 => {
                let n = self.number()?;
                let kinds = if n > 0 { self.byte()? } else { 0 };
                for _ in 0..n {
                    self.value(kinds >> 4, visit)?;
                    self.value(kinds & 0x0f, visit)?;
                }
                Found::Other
            }
            12 => {
                visit(&self.path, Found::Struct)?;
                self.fields(visit)?;
                Found::Other
            }
            13 => self.skip(16, Found::Other)?,
            _ => bail!("found a value of the unknown kind {kind}"),
        };
        self.depth -= 1;
        if found == Found::Other { Ok(()) } else { visit(&self.path, found) }
    }

    fn byte(&mut self) -> anyhow::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.taken += 1;
        Ok(byte[0])
    }

    /// Seven bits a byte, the lowest first.
    fn number(&mut self) -> anyhow::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        bail!("found a number of more than 64 bits")
    }

    /// Numbers with a sign, which is the lowest bit.
    fn int(&mut self) -> anyhow::Result<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn skip(&mut self, n: u64, found: Found) -> anyhow::Result<Found> {
        let skipped = io::copy(&mut self.reader.by_ref().take(n), &mut io::sink())?;
        ensure!(skipped == n, "found the end of the file in a value of {n} bytes");
        self.taken += n;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in a struct, and the number of its bytes.
    fn fields(bytes: &[u8], all: &mut Vec<(Vec<i16>, Found)>) -> anyhow::Result<u64> {
        read(bytes, &mut |path, found| {
            all.push((path.to_vec(), found));
            Ok(())
        })
    }

    #[test]
    fn numbers_are_found_with_the_names_of_their_fields() {
        let bytes = [
            0x15, 0x03, // field 1, a number: -2
            0x26, 0xac, 0x02, // field 3: 150
            0x08, 0x12, 0x02, b'x', b'y', // field 9 by its full name: two bytes
            0x19, 0x2c, // field 10, a list of two structs
            0x15, 0x02, 0x00, // the first has 1 in its field 1
            0x21, 0x12, 0x00, // the second true in its field 2, false in its field 3
            0x00, // the end
            0xff, // and something else
        ];
        let mut all = Vec::new();
        assert_eq!(fields(&bytes, &mut all).unwrap() as usize, bytes.len() - 1);
        let expected: [(&[i16], Found); 9] = [
            (&[1], Found::Int(-2)),
            (&[3], Found::Int(150)),
            (&[9], Found::Bytes),
            (&[10], Found::List(2)),
            (&[10], Found::Struct),
            (&[10, 1], Found::Int(1)),
            (&[10], Found::Struct),
            (&[10, 2], Found::Bool(true)),
            (&[10, 3], Found::Bool(false)),
        ];
        assert_eq!(all, expected.map(|(path, found)| (path.to_vec(), found)));
    }

    #[test]
    fn what_is_no_struct_is_an_error() {
        let deep = [0x1c].repeat(100);
        let lists = [&[0x19][..], &[0x19].repeat(100)].concat();
        for bytes in [
            &[][..],
            &[0x15],
            &[0x18, 0x7f, 1, 2],
            &[0x1e, 0],
            &[0x15; 1],
            &deep,
            &lists,
            &[0xff; 20],
        ] {
            assert!(fields(bytes, &mut Vec::new()).is_err(), "{bytes:?}");
        }
    }
}
