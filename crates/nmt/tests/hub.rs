//! Data sets of the Hub, and Parquet, in `nmt fetch`.
//!
//! The Hub is a server of the test. Parquet is written by the test, and by pyarrow:
//! `scripts/reference/parquet.py`.

mod server;

use std::{fs, io::Write, path::Path, sync::Arc};

use assert_cmd::Command;
use flate2::{Compression, write::GzEncoder};
use parquet::{
    column::writer::ColumnWriter,
    data_type::ByteArray,
    file::{
        metadata::ParquetMetaDataReader, properties::WriterProperties, writer::SerializedFileWriter,
    },
    schema::parser::parse_message_type,
};
use serde_json::json;
use server::{Answer, Request, Server, answer, part};

/// Versions of a repository: what its owner put there, and what the Hub converted.
const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
const CONVERTED: &str = "76543210fedcba9876543210fedcba9876543210";

/// A file with its path.
type File = (&'static str, Vec<u8>);

/// A server that speaks the Hub's protocol for the data set `us/books`, and for `us/gated` to whoever
/// has the right token. Parquet is kept elsewhere, as the Hub does.
fn hub(files: Vec<File>, converted: Vec<File>) -> Server {
    Server::start(move |request: &Request, _| -> Answer {
        let told = request.headers.get("authorization").is_some_and(|who| who == "Bearer secret");
        let path = request.path.as_str();
        let list = |sha: &str, files: &[File]| {
            let names: Vec<_> =
                files.iter().map(|(name, _)| json!({ "rfilename": name })).collect();
            let about = json!({ "sha": sha, "siblings": names, "private": false }).to_string();
            answer("200 OK", &[], about.as_bytes())
        };
        if path.contains("us/gated") && !told {
            return answer("401 Unauthorized", &[], b"no");
        }
        let path = path.replace("us/gated", "us/books");
        match path.strip_prefix("/api/datasets/us/books/revision/") {
            Some("main" | "v1") => return list(SHA, &files),
            Some("refs%2Fconvert%2Fparquet") if !converted.is_empty() => {
                return list(CONVERTED, &converted);
            }
            _ => {}
        }
        let elsewhere = path.strip_prefix("/elsewhere");
        for (sha, files) in [(SHA, &files), (CONVERTED, &converted)] {
            let folder = format!("/datasets/us/books/resolve/{sha}/");
            let file = elsewhere.unwrap_or(&path).strip_prefix(&folder);
            let is_asked =
                |(name, _): &&File| file.is_some_and(|file| file == name.replace(' ', "%20"));
            let Some((name, content)) = files.iter().find(is_asked) else { continue };
            if name.ends_with(".parquet") && elsewhere.is_none() {
                return answer("302 Found", &[("Location", &format!("/elsewhere{path}"))], b"");
            }
            return part(request, content, "\"x\"");
        }
        answer("404 Not Found", &[], b"")
    })
}

/// A folder with a cache, and what was fetched there.
struct Place(tempfile::TempDir);

impl Place {
    fn empty() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// Runs `nmt fetch` with a Hub and other variables of the environment; its exit code, and what it
    /// said.
    fn fetch(&self, server: &Server, variables: &[(&str, &str)], arguments: &str) -> (i32, String) {
        let mut command = Command::cargo_bin("nmt").expect("the program is built");
        command.env_remove("HF_TOKEN").env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &server.url);
        command.env("HF_HOME", self.0.path().join("hf")).env("NO_PROXY", "*");
        let arguments = format!("fetch {arguments} --cache cache --retries 1 --first-wait 0.01");
        command.envs(variables.iter().copied()).args(arguments.split_whitespace());
        let output = command.current_dir(self.0.path()).output().expect("it starts");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).expect("it says text");
        (output.status.code().unwrap_or(-1), said)
    }

    /// Fetches something in English and German, which must succeed; what was said.
    fn done(&self, server: &Server, arguments: &str) -> String {
        let (code, said) = self.fetch(server, &[], &format!("{arguments} --src en --tgt de"));
        assert_eq!(code, 0, "{said}");
        said
    }

    /// A text that was written.
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).expect("it was written")
    }

    /// The names in a folder.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join(folder)).expect("it can be listed").flatten();
        let names = entries.map(|entry| entry.file_name().into_string().expect("it is text"));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

/// Fetches something to a place of its own, which must fail with this complaint and leave nothing.
fn fails(server: &Server, arguments: &str, complaint: &str) {
    let place = Place::empty();
    let arguments = format!("{arguments} --src en --tgt de --out new");
    let (code, said) = place.fetch(server, &[], &arguments);
    assert!([1, 2].contains(&code), "{code}: {said}");
    assert!(said.contains(complaint), "expected {complaint:?} in:\n{said}");
    assert!(!said.contains("panicked"), "{said}");
    let left = place.names("");
    assert!(left.iter().all(|name| name == "cache"), "{left:?}");
}

/// A Parquet file of a schema with columns of texts; without any rows if there are no columns.
fn parquet(schema: &str, columns: &[&[Option<&str>]]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).expect("it is a schema"));
    let properties = Arc::new(WriterProperties::default());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).expect("it starts");
    let levels: Vec<_> =
        writer.schema_descr().columns().iter().map(|column| column.max_def_level()).collect();
    if !columns.is_empty() {
        let mut group = writer.next_row_group().expect("it starts");
        for (column, most) in columns.iter().zip(levels) {
            let mut writer = group.next_column().expect("it starts").expect("there is one more");
            let values: Vec<ByteArray> =
                column.iter().flatten().map(|text| (*text).into()).collect();
            let level = |text: &Option<&str>| if text.is_some() { most } else { most - 1 };
            let levels: Vec<_> = column.iter().map(level).collect();
            let ColumnWriter::ByteArrayColumnWriter(column) = writer.untyped() else {
                panic!("a column is none of texts");
            };
            column.write_batch(&values, Some(&levels), None).expect("memory can be written");
            writer.close().expect("memory can be written");
        }
        group.close().expect("memory can be written");
    }
    writer.into_inner().expect("memory can be written")
}

/// A Parquet file with a struct for each row.
fn translations(en: &[Option<&str>], de: &[Option<&str>]) -> Vec<u8> {
    let schema = "message rows { optional group translation {
        optional binary de (UTF8); optional binary en (UTF8); } }";
    parquet(schema, &[de, en])
}

/// One pair as JSON lines.
fn row(en: &str, de: &str) -> Vec<u8> {
    format!("{}\n", json!({ "translation": { "en": en, "de": de } })).into_bytes()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

/// A file that pyarrow wrote.
fn by_pyarrow(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet");
    fs::read(folder.join(name)).expect("a file can be read")
}

/// A server with one file, which it has under any name.
fn with(content: Vec<u8>) -> Server {
    Server::start(move |request, _| part(request, &content, "\"x\""))
}

#[test]
fn a_data_set_becomes_a_text_for_each_part_and_language() {
    let first = translations(
        &[Some("One"), None, Some(" Two \n cats "), Some("")],
        &[Some("Eins"), Some("Null"), Some("Zwei  Katzen"), Some("Leer")],
    );
    let server = hub(
        vec![
            ("README.md", b"---\nlicense: cc-by-4.0\n---\n# Books\n".to_vec()),
            ("books.py", b"import datasets\n".to_vec()),
            ("data/train-00001-of-00002.parquet", translations(&[Some("Three")], &[Some("Drei")])),
            ("data/train-00000-of-00002.parquet", first),
            ("data/validation set.jsonl.gz", gzip(&row("Four", "Vier"))),
            ("data/test.json", row("Five", "Fünf")),
        ],
        vec![],
    );
    let place = Place::empty();
    let said = place.done(&server, "--hub us/books --out new");
    assert_eq!(place.text("new/train.en"), "One\nTwo cats\nThree\n");
    assert_eq!(place.text("new/train.de"), "Eins\nZwei Katzen\nDrei\n");
    assert_eq!(place.text("new/valid.en"), "Four\n");
    assert_eq!(place.text("new/valid.de"), "Vier\n");
    assert_eq!(place.text("new/test.de"), "Fünf\n");
    assert_eq!(place.names("new").len(), 7, "and SOURCE.txt");
    let source = place.text("new/SOURCE.txt");
    for part in
        [&format!("{}/datasets/us/books\nversion: {SHA}\n", server.url), "cc-by-4.0", "test.json"]
    {
        assert!(source.contains(part), "{source}");
    }
    assert!(said.contains("us/books · 4 files · version 0123456\n"), "{said}");
    assert!(said.find("cc-by-4.0").unwrap() < said.find("/data/").unwrap(), "{said}");

    // Only what a branch is called is asked again, and offline nothing.
    let asked = server.seen().len();
    place.done(&server, "--hub us/books --revision v1 --out again");
    assert_eq!(server.seen().len(), asked + 1);
    for (variables, option, out) in
        [(&[("HF_HUB_OFFLINE", "1")][..], "", "third"), (&[], "--offline", "fourth")]
    {
        let arguments = format!("--hub us/books --src en --tgt de --out {out} {option}");
        let (code, said) = place.fetch(&server, variables, &arguments);
        assert_eq!(code, 0, "{said}");
        assert_eq!(place.text(&format!("{out}/train.en")), place.text("new/train.en"));
    }
    assert_eq!(server.seen().len(), asked + 1);
    let (code, said) = place.fetch(&server, &[], "--hub us/books --src en --tgt de --out new");
    assert!(code == 1 && said.contains("new exists already"), "{said}");
}

#[test]
fn a_configuration_is_named_or_called_like_the_languages() {
    let server = hub(
        vec![
            ("de-en/train.jsonl", row("One", "Eins")),
            (
                "de-fr/train.jsonl",
                b"{\"translation\": {\"de\": \"Eins\", \"fr\": \"un\"}}\n".to_vec(),
            ),
            ("poems/de-en/test.jsonl", row("Rhyme", "Reim")),
        ],
        vec![],
    );
    let place = Place::empty();
    let several = "us/books has no configuration en-de, but de-en, de-fr, poems/de-en";
    fails(&server, "--hub us/books/en-de", several);
    fails(&server, "--hub us/books", "us/books has several configurations: de-en, de-fr, poems");
    let said = place.done(&server, "--hub us/books/de-en --out new");
    assert!(said.contains("us/books · de-en · 1 files"), "{said}");
    assert!(said.contains("its description names none"), "{said}");
    place.done(&server, "--hub us/books/poems/de-en --out poems");
    assert_eq!(place.text("poems/test.de"), "Reim\n");
    assert_eq!(place.names("poems"), ["SOURCE.txt", "test.de", "test.en"]);
    fails(&server, "--hub us/books/de-fr", "line 1: found no text in en, but de, fr");

    let files = vec![("x-y/train.jsonl", row("a", "b")), ("de-en/train.jsonl", row("c", "d"))];
    place.done(&hub(files, vec![]), "--hub us/books --out other");
    assert_eq!(place.text("other/train.en"), "c\n");
}

#[test]
fn what_the_hub_converted_is_taken_where_the_rest_cannot_be_read() {
    let script = || vec![("README.md", b"---\nlicense: mit\n---\n".to_vec()), ("books.py", vec![])];
    let converted = vec![
        ("de-en/partial-train/0000.parquet", translations(&[Some("One")], &[Some("Eins")])),
        ("en-fr/train/0000.parquet", vec![]),
    ];
    let server = hub(script(), converted);
    let place = Place::empty();
    let said = place.done(&server, "--hub us/books --out new");
    assert!(said.contains("asking for refs/convert/parquet"), "{said}");
    assert!(said.contains("mit\n") && said.contains("version 7654321"), "{said}");
    assert_eq!(place.text("new/train.de"), "Eins\n");
    assert!(place.text("new/SOURCE.txt").contains(CONVERTED));
    place.done(&server, "--hub us/books --revision refs/convert/parquet --out direct");
    let unusable = "JSON lines or text in en and de, but README.md, books.py";
    fails(&server, "--hub us/books --revision v1", unusable);
    fails(&hub(script(), vec![]), "--hub us/books", unusable);
    fails(&hub(script(), vec![("all.parquet", vec![])]), "--hub us/books", unusable);
}

#[test]
fn texts_for_each_language_are_parts_too() {
    let files = |de: &[u8]| -> Vec<File> {
        vec![("raw/train.en", b"One\nTwo\n".to_vec()), ("raw/train.de.gz", gzip(de))]
    };
    let place = Place::empty();
    place.done(&hub(files(b"Eins\nZwei\n"), vec![]), "--hub us/books --out new");
    assert_eq!(place.text("new/train.de"), "Eins\nZwei\n");
    let server = hub(files(b"Eins\n"), vec![]);
    fails(&server, "--hub us/books", "found 2 lines in en, but 1 in de");
    let alone = hub(vec![("train.de", b"Eins\n".to_vec())], vec![]);
    fails(
        &alone,
        "--hub us/books",
        "found train.de for train, expected one text in en and one in de",
    );
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let server =
        hub(vec![("train.parquet", translations(&[Some("One")], &[Some("Eins")]))], vec![]);
    let place = Place::empty();
    let arguments = "--hub us/gated --src en --tgt de --out new";
    fails(&server, "--hub us/gated", "say who you are with HF_TOKEN");
    let (code, said) = place.fetch(&server, &[("HF_TOKEN", "guess")], arguments);
    assert!(code == 1 && said.contains("belongs to may not read it"), "{said}");
    let before = server.seen().len();
    let (code, said) = place.fetch(&server, &[("HF_TOKEN", "secret")], arguments);
    assert_eq!(code, 0, "{said}");
    assert_eq!(place.text("new/train.de"), "Eins\n");
    let told: Vec<_> = server.seen()[before..]
        .iter()
        .map(|request| {
            (request.path.contains("elsewhere"), request.headers.contains_key("authorization"))
        })
        .collect();
    // The list, and then the file: what the Hub answers leads elsewhere.
    assert_eq!(told, [(false, true), (false, true), (true, false)]);
}

#[test]
fn what_is_no_data_set_is_named_and_leaves_nothing() {
    let empty = hub(vec![], vec![]);
    fails(&empty, "--hub us/books", "in en and de, but none at all");
    fails(&empty, "--hub us/nothing", "there is no such repository or version on the Hub");
    fails(&empty, "--hub books", "books is no name of a repository: OWNER/NAME");
    fails(&empty, "--hub us/books --revision ../x", "../x is no name of a branch");
    for name in ["../train.jsonl", "/train.jsonl", "de-en/../../train.jsonl"] {
        let server = hub(vec![(name, row("One", "Eins"))], vec![]);
        fails(&server, "--hub us/books", "which is no path in a repository");
        assert_eq!(server.seen().len(), 1);
    }
    fails(&with(b"<html>".to_vec()), "--hub us/books", "describes no repository");
    let evil = br#"{"sha": "../../..", "siblings": []}"#;
    fails(&with(evil.to_vec()), "--hub us/books", "which is no name of one");
    let (good, hollow) = (row("One", "Eins"), row("Two", ""));
    let half = hub(vec![("train.jsonl", good.clone()), ("test.jsonl", b"{".to_vec())], vec![]);
    fails(
        &half,
        "--hub us/books",
        "cannot use what is called test: file 1 of 1: line 1: found no JSON",
    );
    fails(
        &hub(vec![("train.jsonl", hollow.clone())], vec![]),
        "--hub us/books",
        "found nothing in both",
    );

    // A test of which the answers are secret is no reason to have nothing.
    let place = Place::empty();
    let secret = hub(vec![("train.jsonl", good), ("test.jsonl", hollow)], vec![]);
    let said = place.done(&secret, "--hub us/books --out new");
    assert!(said.contains("test is left out: found nothing in both en and de"), "{said}");
    assert_eq!(place.names("new"), ["SOURCE.txt", "train.de", "train.en"]);
}

#[test]
fn parquet_is_read_however_it_is_written_and_packed() {
    let en = "The ferry leaves at noon.\nWho left the gate open?\nTwo kettles, one stove.\n\
              The ferry leaves at noon.\n";
    let fr = "Le ferry part à midi.\nQui a laissé le portail ouvert ?\n\
              Deux bouilloires, un réchaud.\nLe ferry part à midi.\n";
    let zip = {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in
            [("deep/b.parquet", by_pyarrow("struct.parquet")), ("c.txt", vec![1])]
        {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(&content).unwrap();
        }
        archive.finish().unwrap().into_inner()
    };
    for (content, name, tgt, first) in [
        (by_pyarrow("struct.parquet"), "a.parquet", "de", "Die Fähre legt mittags ab."),
        (by_pyarrow("struct.parquet"), "a", "es", "El ferri sale a mediodía."),
        (by_pyarrow("struct.parquet"), "a.parquet", "it", "Il traghetto parte a mezzogiorno."),
        (by_pyarrow("map.parquet"), "a.parquet", "de", "Die Fähre legt mittags ab."),
        (by_pyarrow("columns.parquet"), "a.parquet", "de", "Die Fähre legt mittags ab."),
        (gzip(&by_pyarrow("struct.parquet")), "a.parquet.gz", "de", "Die Fähre legt mittags ab."),
        (zip, "a.zip", "de", "Die Fähre legt mittags ab."),
    ] {
        let (server, place) = (with(content), Place::empty());
        let url = format!("--url {}/{name} --src en --tgt", server.url);
        let (code, said) = place.fetch(&server, &[], &format!("{url} {tgt} --out new"));
        assert_eq!(code, 0, "{said}");
        let stem = if name == "a.zip" { "b" } else { "a" };
        assert_eq!(place.text(&format!("new/{stem}.en")), en, "{name}");
        assert_eq!(place.text(&format!("new/{stem}.{tgt}")).lines().next(), Some(first));
        assert_eq!(place.names("new").len(), 3, "and SOURCE.txt");
    }
    let (server, place) = (with(by_pyarrow("struct.parquet")), Place::empty());
    let url = format!("--url {}/a --src fr --tgt en --out new", server.url);
    assert_eq!(place.fetch(&server, &[], &url).0, 0);
    assert_eq!((place.text("new/a.fr"), place.text("new/a.en")), (fr.into(), en.into()));
}

/// Writes other bytes to the beginning of the first column of a Parquet file.
fn with_page(content: &[u8], page: &[u8]) -> Vec<u8> {
    let [.., a, b, c, d, _, _, _, _] = content else { panic!("it is too short") };
    let footer = content.len() - 8 - u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    let about = ParquetMetaDataReader::decode_metadata(&content[footer..content.len() - 8]);
    let (start, _) = about.expect("it is whole").row_group(0).column(0).byte_range();
    let start = start as usize;
    [&content[..start], page, &content[start + page.len()..]].concat()
}

#[test]
fn what_is_no_parquet_of_texts_is_named_and_leaves_nothing() {
    let good = translations(&[Some("One"), Some("Two")], &[Some("Eins"), Some("Zwei")]);
    let schema = |columns: &str| parquet(&format!("message rows {{ {columns} }}"), &[]);
    let replaced = |from: &[u8], to: &[u8]| {
        let place = good.windows(from.len()).position(|bytes| bytes == from).expect("it is there");
        [&good[..place], to, &good[place + from.len()..]].concat()
    };
    let nul = translations(&[Some("One"), Some("T\0o")], &[Some("Eins"), Some("Zwei")]);
    let secret = [&good[..good.len() - 4], b"PARE"].concat();
    let endless = [&good[..good.len() - 8], &[0xff; 4], b"PAR1"].concat();
    // Headers of pages by hand: 1 the kind, 2 and 3 the sizes, 7 the dictionary, as the format has them.
    let most = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    let data = with_page(&good, &[&[0x15, 0, 0x15][..], &most, &[0x15, 2, 0]].concat());
    let words = [&[0x15, 4, 0x15, 16, 0x15, 16, 0x4c, 0x15][..], &most, &[0x15, 0, 0, 0]].concat();
    let words = with_page(&good, &words);
    // Without its dictionary, which is declared an index, a page of numbers makes the decoder panic.
    let index = with_page(&good, &[0x15, 2]);
    for (content, complaint) in [
        (b"PAR1".to_vec(), "it is cut short"),
        (good[..good.len() / 2].to_vec(), "it is cut short"),
        (b"no Parquet at all".to_vec(), "found no Parquet file, which begins with PAR1"),
        (b"".to_vec(), "found no Parquet file"),
        (secret, "found a Parquet file that is encrypted"),
        (endless, "found a description of 4294967295 bytes, expected at most"),
        (
            schema("required binary text (UTF8); required int64 id;"),
            "found no text in en, but the columns text, id",
        ),
        (
            schema(
                "required group translation { required binary en (UTF8); required binary fr (UTF8); }",
            ),
            "found no text in de, but the columns translation.en, translation.fr",
        ),
        (
            schema("required int64 en; required binary de (UTF8);"),
            "found INT64 (en) in en, expected a column of texts",
        ),
        (
            schema("required binary en (UTF8); required binary de (DECIMAL(4, 2));"),
            "found DECIMAL (de) in de",
        ),
        (
            schema("required binary en (UTF8); repeated binary de (UTF8);"),
            "found lists of UTF8 (de) in de",
        ),
        (schema("required binary en (UTF8); required binary de (UTF8);"), "found nothing in both"),
        (nul, "row 2: found a NUL character"),
        (replaced(b"Zwei", b"Zw\xffi"), "row 2: found bytes that are not UTF-8"),
        (data, "found a page of 2147483647 bytes, expected at most 134217728"),
        (words, "found a dictionary of 2147483647 texts, expected at most 2"),
        (index, "found a damaged Parquet file"),
    ] {
        let server = with(content);
        fails(&server, &format!("--url {}/a.parquet", server.url), complaint);
    }
    let server = with(good);
    let place = Place::empty();
    place.done(&server, &format!("--url {}/a.parquet --out new", server.url));
    assert_eq!(place.text("new/a.de"), "Eins\nZwei\n");
    let (_, said) = place.fetch(&server, &[], &format!("--url {}/a.parquet --out x", server.url));
    assert!(said.contains("name two of them with `--src` and `--tgt`"), "{said}");

    // That a language is not there is no reason to download it all again.
    let asked = server.seen().len();
    let other = format!("--url {}/a.parquet --src en --tgt fr --out other", server.url);
    let (code, said) = place.fetch(&server, &[], &other);
    assert!(code == 2 && said.contains("but the columns translation.de, translation.en"), "{said}");
    place.done(&server, &format!("--url {}/a.parquet --out again", server.url));
    assert_eq!(server.seen().len(), asked);
}
