//! `nmt fetch` and servers of all kinds: slow, broken, lying and refusing ones. No test leaves
//! this machine.

mod server;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use server::{Answer, Server, answer, part};

/// A folder with a cache, and how `nmt fetch` ended there.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `nmt fetch` with a cache here, short waits and no proxy.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nmt"));
        command.args(["fetch", "--cache", "cache", "--first-wait", "0.01"]);
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command
    }

    fn nmt(&self, arguments: &str) -> (bool, String) {
        let output = self.command(arguments).output().expect("it starts");
        assert!(output.stdout.is_empty());
        (output.status.success(), String::from_utf8(output.stderr).expect("it says text"))
    }

    /// Fetches the address, which must succeed; the file `name` of the result, and what was said.
    fn done(&self, url: &str, name: &str) -> (Vec<u8>, String) {
        let (success, said) = self.nmt(&format!("--url {url} --out new"));
        assert!(success, "{said}");
        (fs::read(self.path("new").join(name)).expect("it was written"), said)
    }

    /// Fetches something, which must fail with this complaint and leave nothing.
    fn fails(&self, arguments: &str, complaint: &str) -> String {
        let (success, said) = self.nmt(&format!("{arguments} --out new"));
        assert!(!success && said.contains(complaint), "{complaint:?} is not in: {said}");
        assert!(!self.path("new").exists(), "{said}");
        let left: Vec<_> =
            fs::read_dir(self.0.path()).expect("it can be listed").flatten().collect();
        assert!(left.iter().all(|entry| entry.file_name() == "cache"), "{left:?}");
        said
    }
}

/// Lines enough for several reads.
fn lines() -> Vec<u8> {
    (0..20_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

/// The file `name` in a zip archive.
fn zip(name: &str, text: &[u8]) -> Vec<u8> {
    zip_of(&[(name, text)])
}

/// A zip archive of files.
fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        archive
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .expect("memory can be written");
        archive.write_all(text).expect("memory can be written");
    }
    archive.finish().expect("memory can be written").into_inner()
}

/// A tar archive of files.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        // Written by hand: the crate refuses names that climb.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, *text).expect("memory can be written");
    }
    archive.into_inner().expect("memory can be written")
}

#[test]
fn a_text_is_downloaded_once_and_unpacked() {
    let packed = gzip(&lines());
    let server = Server::start(move |request, _| part(request, &packed, "\"1\""));
    let place = Place::new();
    let url = format!("{}/some/a.en.gz", server.url);
    assert_eq!(place.done(&url, "a.en").0, lines());
    let source = fs::read_to_string(place.path("new/SOURCE.txt")).unwrap();
    assert!(source.contains(&url), "{source}");
    fs::remove_dir_all(place.path("new")).unwrap();
    let (content, said) = place.done(&url, "a.en");
    assert!(content == lines() && said.contains("cached"), "{said}");
    assert_eq!(server.seen().len(), 1);
    fs::remove_dir_all(place.path("new")).unwrap();
    let (success, said) = place.nmt(&format!("--offline --url {url} --out new"));
    assert!(success, "{said}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_connection_that_breaks_is_resumed_where_it_broke() {
    let half = lines().len() / 2;
    let server = Server::start(move |request, before| {
        let mut answer = part(request, &lines(), "\"1\"");
        if before == 0 {
            answer.body.truncate(half);
        }
        answer
    });
    let (content, said) = Place::new().done(&format!("{}/a.en", server.url), "a.en");
    assert!(content == lines() && said.contains("retry"), "{said}");
    let starts: Vec<_> = server.seen().iter().map(|request| request.start()).collect();
    assert_eq!(starts, [None, Some(half)]);
}

#[test]
fn another_run_goes_on_where_the_last_one_gave_up() {
    let server = Server::start(|request, before| {
        let mut answer = part(request, &lines(), "\"1\"");
        if before == 0 {
            answer.body.truncate(1000);
        }
        answer
    });
    let place = Place::new();
    let url = format!("{}/a.en", server.url);
    place.fails(&format!("--retries 0 --url {url}"), "run it again later");
    assert_eq!(place.done(&url, "a.en").0, lines());
    assert_eq!(server.seen()[1].start(), Some(1000));
}

#[test]
fn a_file_that_changed_meanwhile_is_downloaded_from_its_start() {
    let server = Server::start(|request, before| match before {
        0 => {
            let mut answer = part(request, b"of the old file\n", "\"1\"");
            answer.body.truncate(6);
            answer
        }
        _ => part(request, b"new\n", "\"2\""),
    });
    assert_eq!(Place::new().done(&format!("{}/a", server.url), "a").0, b"new\n");
}

#[test]
fn without_a_name_for_its_version_a_file_is_not_resumed() {
    for headers in [vec![], vec![("ETag", "W/\"1\"")]] {
        let server = Server::start(move |_, before| {
            let mut answer = answer("200 OK", &headers, b"one\ntwo\n");
            answer.body.truncate(if before == 0 { 3 } else { 8 });
            answer
        });
        assert_eq!(Place::new().done(&format!("{}/a", server.url), "a").0, b"one\ntwo\n");
        assert!(server.seen().iter().all(|request| request.start().is_none()));
    }
}

#[test]
fn a_server_that_falls_silent_is_left_and_asked_again() {
    let server = Server::start(|request, before| {
        let mut answer = part(request, &lines(), "\"1\"");
        if before == 0 {
            answer.body.truncate(5000);
            answer.silence = Duration::from_secs(20);
        }
        answer
    });
    let start = Instant::now();
    let place = Place::new();
    let (success, said) = place.nmt(&format!("--timeout 0.3 --url {}/a --out new", server.url));
    assert!(success && said.contains("retry"), "{said}");
    assert_eq!(fs::read(place.path("new/a")).unwrap(), lines());
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn parts_and_lengths_that_do_not_fit_are_noticed() {
    // Longer than it says in all attempts: gzip knows that something is missing.
    let packed = gzip(&lines());
    let server = Server::start(move |_, _| {
        let mut answer = answer("200 OK", &[], &packed);
        answer.headers[0].1 = "1000".into();
        answer
    });
    Place::new().fails(&format!("--url {}/a.gz", server.url), "cannot use http://");
    // Shorter than it says in all attempts.
    let server = Server::start(|_, _| {
        let mut answer = answer("200 OK", &[], b"short\n");
        answer.headers[0].1 = "1000".into();
        answer
    });
    let said =
        Place::new().fails(&format!("--retries 2 --url {}/a", server.url), "cannot download");
    assert!(said.contains("6 B of 1000 B"), "{said}");
    assert_eq!(server.seen().len(), 3);
    // Another part than the one that was asked for.
    let server = Server::start(|request, before| {
        let mut answer = part(request, b"one\ntwo\n", "\"1\"");
        match before {
            0 => answer.body.truncate(4),
            1 => answer.headers[2].1 = "bytes 5-8/9".into(),
            _ => {}
        }
        answer
    });
    assert_eq!(Place::new().done(&format!("{}/a", server.url), "a").0, b"one\ntwo\n");
    assert_eq!(server.seen()[2].start(), None);
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let server = Server::start(|request, _| match request.path.as_str() {
        "/a" => answer("302 Found", &[("Location", "/b")], b""),
        "/loop" => answer("302 Found", &[("Location", "/loop")], b""),
        _ => part(request, b"there\n", "\"1\""),
    });
    let place = Place::new();
    assert_eq!(place.done(&format!("{}/a", server.url), "a").0, b"there\n");
    Place::new().fails(&format!("--url {}/loop", server.url), "/loop");
    assert!(server.seen().len() < 20);
}

#[test]
fn refusals_are_final_and_say_what_to_do() {
    for (status, hint) in [
        ("401 Unauthorized", "--from"),
        ("403 Forbidden", "download it by hand"),
        ("404 Not Found", "it may have moved"),
        ("416 Range Not Satisfiable", "--from"),
    ] {
        let server = Server::start(move |_, _| answer(status, &[], b"no"));
        let url = format!("{}/a", server.url);
        let said = Place::new().fails(&format!("--url {url}"), hint);
        assert!(said.contains(&format!("{url}: the server answered {status}")), "{said}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn a_busy_or_broken_server_is_asked_again_and_not_too_soon() {
    let server = Server::start(|request, before| match before {
        0 => answer("500 Internal Server Error", &[], b""),
        1 => answer("429 Too Many Requests", &[("Retry-After", "1")], b""),
        2 => answer("503 Service Unavailable", &[], b""),
        _ => part(request, b"at last\n", "\"1\""),
    });
    let start = Instant::now();
    assert_eq!(Place::new().done(&format!("{}/a", server.url), "a").0, b"at last\n");
    assert!(start.elapsed() >= Duration::from_secs(1));
    let server =
        Server::start(|_, _| answer("429 Too Many Requests", &[("Retry-After", "86400")], b""));
    Place::new().fails(&format!("--url {}/a", server.url), "asked to wait 86400 s");
    let server = Server::start(|_, _| answer("500 Internal Server Error", &[], b""));
    Place::new().fails(&format!("--retries 2 --url {}/a", server.url), "500 Internal");
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_range_that_the_server_no_longer_has_is_given_up() {
    let server = Server::start(|request, before| match before {
        0 => {
            let mut answer = part(request, b"of the old file\n", "\"1\"");
            answer.body.truncate(9);
            answer
        }
        1 => answer("416 Range Not Satisfiable", &[("Content-Range", "bytes */4")], b""),
        _ => part(request, b"new\n", "\"2\""),
    });
    assert_eq!(Place::new().done(&format!("{}/a", server.url), "a").0, b"new\n");
    assert_eq!(server.seen()[2].start(), None);
}

#[test]
fn wrong_bytes_are_refused_and_leave_the_cache() {
    let digest: String = Sha256::digest("right\n").iter().map(|b| format!("{b:02x}")).collect();
    let server = Server::start(|request, before| {
        part(request, if before == 0 { b"wrong\n" } else { b"right\n" }, "\"1\"")
    });
    let place = Place::new();
    let arguments = format!("--url {}/a --sha256 {digest}", server.url);
    place.fails(&arguments, &format!("expected {digest}"));
    let (success, said) = place.nmt(&format!("{arguments} --out new"));
    assert!(success, "{said}");
    // A known corpus, of which one file is another.
    let server = Server::start(|request, _| part(request, b"one line\n", "\"1\""));
    let place = Place::new();
    let arguments = format!("multi30k-en-de --mirror {}", server.url);
    place.fails(&arguments, "is not the known file: its SHA-256 is");
    place.fails(&format!("--offline {arguments}"), "the cache does not hold");
}

#[test]
fn what_is_no_text_is_refused() {
    for (content, complaint) in [
        (zip("a", &zip("b", b"x")), "a: found an archive in an archive"),
        (
            zip_of(&[("a.en", b"x\n"), ("b.en", b"y\n")]),
            "found an archive of several texts: a.en, b.en",
        ),
        (
            tar_of(&[("a.en", b"x\n"), ("b.en", b"y\n")]),
            "found an archive of several texts: a.en, b.en",
        ),
        (zip_of(&[("README", b"x\n")]), "found an archive without a text"),
        (zip("a", b"x\n")[..20].to_vec(), "found a damaged zip archive"),
        (b"<tmx><body></body></tmx>".to_vec(), "name two of them with `--src` and `--tgt`"),
        (b"<!DOCTYPE HTML><p>Sign in".to_vec(), "found a web page"),
        (b"one\n\xff\n".to_vec(), "line 2: found bytes that are not UTF-8"),
        (b"one\nt\0o\n".to_vec(), "line 2: found a NUL byte"),
        (b"".to_vec(), "found an empty file"),
    ] {
        let server = Server::start(move |request, _| part(request, &content, "\"1\""));
        Place::new().fails(&format!("--url {}/a", server.url), complaint);
    }
    let server = Server::start(|request, _| part(request, b"a\tb\nc\n", "\"1\""));
    Place::new().fails(&format!("--url {}/a.tsv", server.url), "line 2: found no tab");
    Place::new().fails("--url ftp://a.org/b", "is not an address that begins with https://");
}

#[test]
fn source_and_target_must_have_the_same_number_of_lines() {
    let server = Server::start(|request, _| match request.path.as_str() {
        "/a.en" => part(request, b"one\ntwo\n", "\"1\""),
        "/a.es" => part(request, b"uno\ndos\n", "\"1\""),
        _ => part(request, b"eins\n", "\"1\""),
    });
    let urls = |tgt| format!("--url {0}/a.en {0}/{tgt}", server.url);
    Place::new().fails(&urls("a.de"), "a.en has 2 lines, but a.de has 1");
    let place = Place::new();
    assert!(place.nmt(&format!("{} --out new", urls("a.es"))).0);
    assert_eq!(fs::read(place.path("new/a.es")).unwrap(), b"uno\ndos\n");
    place.nmt(&format!("{} --out other", urls("a.en")));
    assert!(!place.path("other").exists());
}

#[test]
fn a_known_corpus_comes_out_of_its_archive_after_its_licence() {
    let text: String = (0..500).map(|n| format!("word {n}\tpalabra {n}\tnote\n")).collect();
    let archive = zip("spa.txt", text.as_bytes());
    let server = Server::start(move |request, _| part(request, &archive, "\"1\""));
    let place = Place::new();
    let arguments = format!("tatoeba-en-es --mirror {}/anki --out new", server.url);
    let (success, said) = place.nmt(&arguments);
    assert!(success, "{said}");
    assert!(said.find("CC-BY").unwrap() < said.find("get ").unwrap(), "{said}");
    assert_eq!(server.seen()[0].path, "/anki/spa-eng.zip");
    let read = |name: &str| fs::read_to_string(place.path("new").join(name)).unwrap();
    let pairs: usize =
        ["train.en", "valid.en", "test.en"].iter().map(|name| read(name).lines().count()).sum();
    assert_eq!(pairs, 500);
    assert!(read("train.es").starts_with("palabra "));
    // Nothing is asked for where the result would not fit.
    assert!(place.nmt(&arguments).1.contains("exists already"));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn two_processes_download_a_file_once() {
    let server = Server::start(|request, _| {
        std::thread::sleep(Duration::from_millis(300));
        part(request, &lines(), "\"1\"")
    });
    let place = Place::new();
    let start = |out: &str| {
        let arguments = format!("--url {}/a --out {out}", server.url);
        place.command(&arguments).stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in [start("one"), start("two")] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let content = |name: &str| fs::read(place.path(name)).unwrap();
    assert!(content("one/a") == lines() && content("two/a") == lines());
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_file_that_was_damaged_in_the_cache_is_downloaded_again() {
    let server = Server::start(|request, _| part(request, b"fine\n", "\"1\""));
    let place = Place::new();
    let url = format!("{}/a", server.url);
    place.done(&url, "a");
    fs::remove_dir_all(place.path("new")).unwrap();
    let ends = |path: &Path| path.to_string_lossy().ends_with("-a");
    let mut files = fs::read_dir(place.path("cache")).unwrap().map(|entry| entry.unwrap().path());
    fs::write(files.find(|path| ends(path)).unwrap(), "fune\n").unwrap();
    let (content, said) = place.done(&url, "a");
    assert!(content == b"fine\n" && said.contains("was damaged"), "{said}");
}

#[test]
fn certificates_that_are_none_are_named() {
    let place = Place::new();
    let (success, said) = place.nmt("--ca-file none --url https://127.0.0.1:1/a --out new");
    assert!(!success && said.contains("cannot read certificates from none"), "{said}");
    fs::write(place.path("empty"), "").unwrap();
    let (_, said) = place.nmt("--ca-file empty --url https://127.0.0.1:1/a --out new");
    assert!(said.contains("empty holds no certificate"), "{said}");
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let server = Server::start(|_, _| answer("403 Forbidden", &[], b""));
    let place = Place::new();
    let mut command = place.command("--url http://corpora.invalid/a --out new");
    let output = command.env("ALL_PROXY", &server.url).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("the proxy in HTTPS_PROXY"), "{said}");
    assert_eq!(server.seen()[0].path, "corpora.invalid:80"); // of the method CONNECT
}

#[test]
fn a_server_that_answers_nothing_fails_an_attempt() {
    let server = Server::start(|_, _| Answer { status: "", ..Answer::default() });
    Place::new().fails(&format!("--retries 1 --url {}/a", server.url), "cannot download http://");
}

#[test]
fn the_two_languages_come_out_of_an_archive_with_what_describes_it() {
    let files: [(&str, &[u8]); 5] = [
        ("x/Books.de-en.de", b"eins\nzwei\n"),
        ("x/Books.de-en.en", b"one\ntwo\n"),
        ("x/Books.de-en.xml", b"<x/>"),
        ("LICENSE", b"Who may use it.\n"),
        ("x/Books.fr", b"un\n"),
    ];
    let mut reversed = files;
    reversed.reverse();
    for archive in [zip_of(&files), tar_of(&files), gzip(&tar_of(&reversed))] {
        let server = Server::start(move |request, _| part(request, &archive, "\"1\""));
        let place = Place::new();
        let arguments = format!("--url {}/a --src en --tgt de --out new", server.url);
        let (good, said) = place.nmt(&arguments);
        assert!(good, "{said}");
        let read = |name: &str| fs::read(place.path("new").join(name)).unwrap();
        assert_eq!(read("Books.de-en.en"), b"one\ntwo\n");
        assert_eq!(read("Books.de-en.de"), b"eins\nzwei\n");
        assert_eq!(read("LICENSE"), b"Who may use it.\n");
        assert_eq!(fs::read_dir(place.path("new")).unwrap().count(), 4, "and SOURCE.txt");
        Place::new().fails(
            &format!("--url {}/a --src en --tgt es", server.url),
            "found 1 and 0 files that end in .en and .es in an archive, expected one of each: ",
        );
    }
}

#[test]
fn names_in_an_archive_lead_nowhere() {
    for name in ["../../evil", "/evil", "..\\..\\evil"] {
        for archive in [zip(name, b"one\n"), tar_of(&[(name, b"one\n")])] {
            let server = Server::start(move |request, _| part(request, &archive, "\"1\""));
            let place = Place::new();
            let (good, said) = place.nmt(&format!("--url {}/a --out in/new", server.url));
            assert!(good, "{said}");
            assert_eq!(fs::read(place.path("in/new/evil")).unwrap(), b"one\n");
            assert!(!place.path("evil").exists() && !place.path("in/evil").exists());
        }
    }
}

#[test]
fn pairs_in_one_file_become_two_texts() {
    let tmx = br#"<?xml version="1.0"?><tmx><body><tu><tuv xml:lang="de"><seg>Ja</seg></tuv>
        <tuv xml:lang="en"><seg>Yes &amp; no</seg></tuv></tu></body></tmx>"#;
    let rows = br#"{"translation": {"de": "Ja", "en": "Yes & no"}}"#;
    for (name, content) in [
        ("m.tmx", tmx.to_vec()),
        ("m.tmx.gz", gzip(tmx)),
        ("m.zip", zip("deep/m.tmx", tmx)),
        ("m.jsonl", rows.to_vec()),
        ("m.tgz", gzip(&tar_of(&[("m.jsonl", rows), ("other", b"x")]))),
    ] {
        let server = Server::start(move |request, _| part(request, &content, "\"1\""));
        let place = Place::new();
        let url = format!("--url {}/{name}", server.url);
        let (good, said) = place.nmt(&format!("{url} --src en --tgt de --out new"));
        assert!(good, "{said}");
        assert!(said.contains("m.en · 1 lines"), "{said}");
        assert_eq!(fs::read(place.path("new/m.en")).unwrap(), b"Yes & no\n");
        assert_eq!(fs::read(place.path("new/m.de")).unwrap(), b"Ja\n");
        place.nmt(&format!("{url} --src en --tgt fr --out other"));
        assert!(!place.path("other").exists());
    }
}

#[test]
fn a_corpus_of_opus_is_found_by_its_name() {
    let archive = zip_of(&[("Books.de-en.de", b"eins\n"), ("Books.de-en.en", b"one\n")]);
    let server = Server::start(move |request, _| match request.path.as_str() {
        "/api/?corpus=Books&source=en&target=de&preprocessing=moses&version=latest"
        | "/api/?corpus=Books&source=en&target=de&preprocessing=moses&version=v1" => {
            let host = &request.headers["host"];
            let found = format!(
                "{{\"corpora\": [{{\"url\": \"http://{host}/v1/de-en.txt.zip\", \"version\": \"v1\", \
                 \"alignment_pairs\": 1234, \"size\": 5678}}]}}"
            );
            part(request, found.as_bytes(), "\"1\"")
        }
        "/v1/de-en.txt.zip" => part(request, &archive, "\"1\""),
        _ => part(request, b"{\"corpora\": []}", "\"1\""),
    });
    let place = Place::new();
    for (name, out) in [("Books", "new"), ("Books/v1", "other")] {
        let opus = format!("--opus {name} --src en --tgt de --opus-api {}/api/", server.url);
        let (good, said) = place.nmt(&format!("{opus} --out {out}"));
        assert!(good, "{said}");
        assert!(said.contains("Books v1 · 1,234 pairs · 5.7 MB"), "{said}");
        assert_eq!(fs::read(place.path(out).join("Books.de-en.en")).unwrap(), b"one\n");
    }
    for (name, complaint) in [
        ("Bibles", "OPUS has no corpus Bibles from en into de"),
        ("a&b", "a&b is no name of a corpus"),
    ] {
        let opus = format!("--opus {name} --src en --tgt de --opus-api {}/api/", server.url);
        let (good, said) = place.nmt(&format!("{opus} --out third"));
        assert!(!good && said.contains(complaint), "{said}");
        assert!(!place.path("third").exists());
    }
}
