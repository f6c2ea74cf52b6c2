//! Pairs out of the columns of Parquet, as data sets of the Hub have them: the column `translation`
//! with a text for each language, as a struct or as a map, or a column for each language.
//!
//! A file is read row group by row group, and from each column a page at a time.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    panic::{self, AssertUnwindSafe},
    sync::{Arc, atomic::AtomicU64},
};

use anyhow::{Context, anyhow, bail, ensure};
use parquet::{
    basic::{ConvertedType, LogicalType, Type},
    column::reader::ColumnReaderImpl,
    data_type::{ByteArray, ByteArrayType},
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData},
    schema::types::ColumnDescriptor,
};

use super::{
    pages::Pages,
    pairs::{FAR_MORE, Found, TRANSLATION, give},
    thrift,
    unpack::LONGEST,
};
use crate::console::Misuse;

/// What a Parquet file begins and ends with.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// What one ends with of which nothing can be read without a key.
const SECRET: &[u8] = b"PARE";
/// Most bytes of the description at the end of a file.
const LARGEST_FOOTER: u64 = 1 << 24;
/// Most columns, and groups of columns.
const MOST_COLUMNS: i64 = 2000;
/// Rows that are decoded at once.
const BATCH: usize = 256;

/// Gives the source and the target of each row to `found`, in their order. `limit` is how many bytes
/// the file may unpack to.
pub(super) fn read(
    file: File,
    languages: [&str; 2],
    limit: u64,
    found: Found<'_>,
) -> anyhow::Result<()> {
    // Decoders may panic on what no writer writes; that is an error of the file, not of the program.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let done = panic::catch_unwind(AssertUnwindSafe(|| read_all(file, languages, limit, found)));
    panic::set_hook(hook);
    done.unwrap_or_else(|_| bail!(DAMAGED))
}

fn read_all(
    mut file: File,
    languages: [&str; 2],
    limit: u64,
    found: Found<'_>,
) -> anyhow::Result<()> {
    let about = describe(&mut file)?;
    let columns = about.file_metadata().schema_descr().columns();
    let columns: Vec<_> = columns.iter().map(|column| column.as_ref()).collect();
    let places = Places::of(&columns, languages)?;
    let mut rows = Rows { row: 0, left: limit, found };
    let left = Arc::new(AtomicU64::new(limit));
    for group in about.row_groups() {
        let before = rows.row;
        let open = |idx| Column::open(&file, group, idx, &left);
        match places {
            Places::Columns([src, tgt]) => rows.columns([open(src)?, open(tgt)?])?,
            Places::Map([key, value]) => rows.map(open(key)?, open(value)?, languages)?,
        }
        let (n, expected) = (rows.row - before, group.num_rows());
        ensure!(i64::try_from(n) == Ok(expected), "found {n} rows in a group of {expected}");
    }
    Ok(())
}

/// What the end of a file says about it.
fn describe(file: &mut File) -> anyhow::Result<ParquetMetaData> {
    let (mut head, mut tail) = ([0; 4], [0; 8]);
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    let begins = file.read_exact(&mut head).is_ok() && [MAGIC, SECRET].contains(&&head[..]);
    ensure!(begins, "found no Parquet file, which begins with PAR1");
    file.seek(SeekFrom::Start(len.saturating_sub(8).max(4)))?;
    let whole = file.read_exact(&mut tail).is_ok();
    ensure!(!whole || &tail[4..] != SECRET, "found a Parquet file that is encrypted");
    ensure!(
        whole && &tail[4..] == MAGIC,
        "found the beginning of a Parquet file without its end: it is cut short"
    );
    let size = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let most = LARGEST_FOOTER.min(len - 12);
    ensure!(size <= most, "found a description of {size} bytes, expected at most {most}");
    let mut footer = vec![0; size as usize];
    file.seek(SeekFrom::Start(len - 8 - size))?;
    file.read_exact(&mut footer)?;
    check(&footer).context(DAMAGED)?;
    ParquetMetaDataReader::decode_metadata(&footer).map_err(plain)
}

/// Makes sure that there is memory for all the columns that a description speaks of. A crate reads
/// it, which believes the numbers in it.
fn check(footer: &[u8]) -> anyhow::Result<()> {
    use thrift::Found::{Bytes, Int, List, Struct};
    thrift::read(footer, &mut |path, found| {
        match (path, found) {
            ([2], List(n)) => {
                ensure!(i64::try_from(n)? <= MOST_COLUMNS, "found {n} columns");
            }
            ([2, 5], Int(n)) => {
                ensure!((0..=MOST_COLUMNS).contains(&n), "found a group of {n} columns");
            }
            // Values of other kinds would be read as if they were of these.
            ([2] | [2, 10], Struct) | ([2, 4], Bytes) | ([2, 1..=3 | 6..=9], Int(_)) => {}
            ([2] | [2, 1..=10], _) => bail!("found a column that is described in another way"),
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// Where the texts are.
enum Places {
    /// Columns of the source and the target.
    Columns([usize; 2]),
    /// Columns of keys and values.
    Map([usize; 2]),
}

impl Places {
    /// Among the columns of a file.
    fn of(columns: &[&ColumnDescriptor], languages: [&str; 2]) -> anyhow::Result<Self> {
        if let Some(map) = map(columns)? {
            return Ok(Self::Map(map));
        }
        let [src, tgt] = languages.map(|language| place(columns, language));
        Ok(Self::Columns([src?, tgt?]))
    }
}

/// The columns of keys and values, if the translations are a map.
fn map(columns: &[&ColumnDescriptor]) -> anyhow::Result<Option<[usize; 2]>> {
    let find = |name: &str| {
        columns.iter().position(|column| {
            let parts = column.path().parts();
            parts.len() == 3 && parts[0] == TRANSLATION && parts[2] == name
        })
    };
    let Some(map) = find("key").zip(find("value")).map(|(key, value)| [key, value]) else {
        return Ok(None);
    };
    for idx in map {
        let is_map = columns[idx].max_rep_level() == 1 && is_text(columns[idx]);
        ensure!(is_map, "found {}, expected a map of texts", described(columns[idx]));
    }
    Ok(Some(map))
}

/// The column of a language: in the struct of translations, if there is one.
fn place(columns: &[&ColumnDescriptor], language: &str) -> anyhow::Result<usize> {
    let mut all = columns.iter().map(|column| column.path().parts());
    let nested = all.any(|parts| parts.len() > 1 && parts[0] == TRANSLATION);
    let wanted = if nested { &[TRANSLATION, language][..] } else { &[language] };
    let found = columns.iter().position(|column| {
        let parts = column.path().parts();
        parts.len() >= wanted.len() && parts.iter().zip(wanted).all(|(part, name)| part == name)
    });
    let Some(idx) = found else {
        let name =
            |column: &&ColumnDescriptor| column.path().string().replace(char::is_control, "?");
        let some = columns.iter().take(12).map(name).collect::<Vec<_>>();
        let more = if columns.len() > some.len() { ", …" } else { "" };
        let what =
            format!("found no text in {language}, but the columns {}{more}", some.join(", "));
        return Err(Misuse(what).into());
    };
    let column = columns[idx];
    let is_one = column.path().parts().len() == wanted.len() && column.max_rep_level() == 0;
    ensure!(
        is_one && is_text(column),
        "found {} in {language}, expected a column of texts",
        described(column)
    );
    Ok(idx)
}

/// Whether a column holds texts; those of old files do not say so.
fn is_text(column: &ColumnDescriptor) -> bool {
    column.physical_type() == Type::BYTE_ARRAY
        && matches!(column.logical_type_ref(), None | Some(LogicalType::String))
        && matches!(column.converted_type(), ConvertedType::NONE | ConvertedType::UTF8)
}

/// A column as an error names it.
fn described(column: &ColumnDescriptor) -> String {
    let list = if column.max_rep_level() > 0 { "lists of " } else { "" };
    let kind = match column.converted_type() {
        ConvertedType::NONE => column.physical_type().to_string(),
        kind => kind.to_string(),
    };
    format!("{list}{kind} ({})", column.path().string())
}

/// A column of a row group, while it is being read.
struct Column {
    reader: ColumnReaderImpl<ByteArrayType>,
    /// The level of a value that is there.
    there: i16,
    repeated: bool,
    def_levels: Vec<i16>,
    rep_levels: Vec<i16>,
    values: Vec<ByteArray>,
}

/// A value of a column: whether a row begins with it, and its text, if there is one.
type Value = (bool, Option<ByteArray>);

impl Column {
    fn open(
        file: &File,
        group: &RowGroupMetaData,
        idx: usize,
        left: &Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let column = group.columns().get(idx).context("found a row group without a column")?;
        ensure!(column.file_path().is_none(), "found a column that is in another file");
        let first = column.dictionary_page_offset().filter(|&at| at > 0);
        let first = first.map_or(column.data_page_offset(), |at| at.min(column.data_page_offset()));
        let places = u64::try_from(first).ok().zip(u64::try_from(column.compressed_size()).ok());
        let places = places.and_then(|(first, size)| Some([first, first.checked_add(size)?]));
        let [first, end] = places.context("found a column at an impossible place")?;
        ensure!(end <= file.metadata()?.len(), "found a column behind the end of the file");
        let about = column.column_descr_ptr();
        let levels = [about.max_rep_level() > 0, about.max_def_level() > 0];
        let (file, left) = (file.try_clone()?, Arc::clone(left));
        let pages = Pages::new(file, [first, end], column.compression(), levels, left);
        Ok(Self {
            there: about.max_def_level(),
            repeated: levels[0],
            reader: ColumnReaderImpl::new(about, Box::new(pages)),
            def_levels: Vec::new(),
            rep_levels: Vec::new(),
            values: Vec::new(),
        })
    }

    /// The values of the next rows; none at the end.
    fn batch(&mut self) -> anyhow::Result<Vec<Value>> {
        let Self { reader, def_levels, rep_levels, values, .. } = self;
        def_levels.clear();
        rep_levels.clear();
        values.clear();
        let read = reader.read_records(BATCH, Some(def_levels), Some(rep_levels), values);
        let (_, _, n) = read.map_err(plain)?;
        let mut values = values.drain(..);
        let mut batch = Vec::with_capacity(n);
        for idx in 0..n {
            let there = self.there == 0 || self.def_levels[idx] == self.there;
            let value =
                if there { Some(values.next().context("found too few values")?) } else { None };
            batch.push((!self.repeated || self.rep_levels[idx] == 0, value));
        }
        Ok(batch)
    }
}

/// Gives out pairs and counts rows.
struct Rows<'a> {
    row: u64,
    /// Bytes that rows may still have, and one for each.
    left: u64,
    found: Found<'a>,
}

impl Rows<'_> {
    /// Reads two columns together.
    fn columns(&mut self, [mut src, mut tgt]: [Column; 2]) -> anyhow::Result<()> {
        loop {
            let [src, tgt] = [src.batch()?, tgt.batch()?];
            ensure!(src.len() == tgt.len(), "found columns of different lengths");
            if src.is_empty() {
                return Ok(());
            }
            for ((_, src), (_, tgt)) in src.iter().zip(&tgt) {
                self.row([src.as_ref(), tgt.as_ref()])?;
            }
        }
    }

    /// Reads keys and values together: of each row, what stands under two of the keys.
    fn map(
        &mut self,
        mut keys: Column,
        mut values: Column,
        languages: [&str; 2],
    ) -> anyhow::Result<()> {
        loop {
            let [keys, values] = [keys.batch()?, values.batch()?];
            ensure!(keys.len() == values.len(), "found more keys than values, or less");
            if keys.is_empty() {
                return Ok(());
            }
            let mut row = [None, None];
            for (idx, ((begins, key), (_, value))) in keys.iter().zip(&values).enumerate() {
                if *begins && idx > 0 {
                    self.row(std::mem::take(&mut row))?;
                }
                let is_key = |language: &&str| {
                    key.as_ref().is_some_and(|key| key.data() == language.as_bytes())
                };
                if let Some(side) = languages.iter().position(is_key) {
                    row[side] = value.as_ref();
                }
            }
            self.row(row)?;
        }
    }

    /// Gives out the pair of a row.
    fn row(&mut self, row: [Option<&ByteArray>; 2]) -> anyhow::Result<()> {
        self.row += 1;
        let (number, mut texts) = (self.row, [None, None]);
        for (text, value) in texts.iter_mut().zip(row) {
            let bytes = value.map_or(&[][..], ByteArray::data);
            let n = bytes.len() as u64;
            ensure!(n <= LONGEST, "row {number}: found more than {LONGEST} bytes");
            self.left = self.left.checked_sub(n).context(FAR_MORE)?;
            let valid = std::str::from_utf8(bytes).ok();
            let valid =
                valid.with_context(|| format!("row {number}: found bytes that are not UTF-8"));
            *text = Some(valid?);
        }
        self.left = self.left.checked_sub(1).context(FAR_MORE)?;
        give(texts, self.found).with_context(|| format!("row {number}"))
    }
}

/// An error of the crate, or of a page that it was given.
fn plain(error: ParquetError) -> anyhow::Error {
    match error {
        ParquetError::External(error) => anyhow!(error),
        ParquetError::General(what) | ParquetError::EOF(what) | ParquetError::NYI(what) => {
            anyhow!("{DAMAGED}: {what}")
        }
        error => anyhow!(error).context(DAMAGED),
    }
}

/// What is wrong with most files.
const DAMAGED: &str = "found a damaged Parquet file";

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ENOUGH: u64 = 1 << 20;

    /// What pyarrow wrote: `scripts/reference/parquet.py`.
    fn written(name: &str) -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet");
        std::fs::read(folder.join(name)).expect("a file can be read")
    }

    /// The pairs of a file that may unpack to so many bytes, or what is wrong with it. Panics are caught,
    /// and what they say is not hidden.
    fn pairs(content: &[u8], limit: u64) -> anyhow::Result<Vec<[String; 2]>> {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("a file can be written");
        let mut all = Vec::new();
        let mut found = |pair: [&str; 2]| {
            all.push(pair.map(str::to_owned));
            Ok(())
        };
        let read = AssertUnwindSafe(|| read_all(file, ["en", "de"], limit, &mut found));
        panic::catch_unwind(read).unwrap_or_else(|_| bail!(DAMAGED))?;
        Ok(all)
    }

    #[test]
    fn whatever_byte_is_damaged_reading_ends() {
        for name in ["struct.parquet", "map.parquet", "columns.parquet"] {
            let whole = written(name);
            assert_eq!(pairs(&whole, ENOUGH).unwrap().len(), 4);
            let mut refused = 0;
            for place in 0..whole.len() {
                for flipped in [0x01, 0x80, 0xff] {
                    let mut damaged = whole.clone();
                    damaged[place] ^= flipped;
                    refused += usize::from(pairs(&damaged, ENOUGH).is_err());
                }
                assert!(pairs(&whole[..place], ENOUGH).is_err());
            }
            assert!(refused > whole.len(), "{refused} of {} were refused", 3 * whole.len());
        }
    }

    #[test]
    fn a_file_unpacks_to_no_more_than_it_may() {
        for name in ["struct.parquet", "map.parquet", "columns.parquet"] {
            let error = pairs(&written(name), 200).unwrap_err();
            assert_eq!(error.to_string(), FAR_MORE);
        }
        // A text of a dictionary counts as often as it stands in a row.
        let found = &mut |_: [&str; 2]| Ok(());
        let mut rows = Rows { row: 0, left: 25, found };
        let text = ByteArray::from("12345");
        for _ in 0..2 {
            rows.row([Some(&text), Some(&text)]).unwrap();
        }
        assert_eq!(rows.row([None, Some(&text)]).unwrap_err().to_string(), FAR_MORE);
    }
}
