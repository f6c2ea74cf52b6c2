//! Translation memories: pairs of segments out of TMX and XLIFF.
//!
//! TMX (LISA, 2005, version 1.4b) has for each unit a variant in each language; XLIFF (OASIS, 1.2
//! and 2.0) a source and a target. Codes of formatting are left out, text that they enclose stays.
//! Documents are read as they come: only a unit is in memory.

use std::io::{self, BufRead, BufReader, Read};

use anyhow::{Context, bail, ensure};
use quick_xml::{
    XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
    reader::Reader,
};

use super::{pairs::Found, unpack::LONGEST};

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Translation Memory eXchange.
    Tmx,
    /// XML Localisation Interchange File Format.
    Xliff,
}

impl Kind {
    /// By the name of a file, or by how it begins.
    pub(super) fn of(name: &str, head: &[u8]) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".tmx") {
            return Some(Self::Tmx);
        }
        if [".xlf", ".xliff"].iter().any(|ending| name.ends_with(ending)) {
            return Some(Self::Xliff);
        }
        let head = String::from_utf8_lossy(&head[..head.len().min(4096)]);
        let head = head.trim_start_matches('\u{feff}').trim_start();
        let is_xml = head.starts_with("<?xml") || head.starts_with("<!DOCTYPE");
        let has = |tag: &str| head.starts_with(tag) || (is_xml && head.contains(tag));
        match () {
            () if has("<tmx") => Some(Self::Tmx),
            () if has("<xliff") => Some(Self::Xliff),
            () => None,
        }
    }

    fn unit(self) -> [&'static str; 2] {
        match self {
            Self::Tmx => ["tu", "tu"],
            Self::Xliff => ["trans-unit", "segment"],
        }
    }
}

/// Elements whose content is a code and no text.
const CODES: [&str; 7] = ["bpt", "ept", "ph", "it", "ut", "sub", "note"];

/// Gives the source and the target of each unit that has both to `found`, in their order.
pub(super) fn read(
    reader: impl Read,
    kind: Kind,
    languages: [&str; 2],
    found: Found<'_>,
) -> anyhow::Result<()> {
    let mut reader = Reader::from_reader(Bounded { inner: BufReader::new(reader), since: 0 });
    reader.config_mut().expand_empty_elements = true;
    let mut buffer = Vec::new();
    let mut state = State::new(kind, languages);
    loop {
        buffer.clear();
        let at = reader.buffer_position();
        let event = reader
            .read_event_into(&mut buffer)
            .with_context(|| format!("found no XML around byte {at}"))?;
        match event {
            Event::Start(tag) => state.open(&tag)?,
            Event::End(tag) => {
                if let Some(pair) = state.close(tag.local_name().as_ref())? {
                    found([&pair[0], &pair[1]])?;
                }
            }
            Event::Text(text) => state.text(&text.xml10_content())?,
            Event::CData(text) => state.text(&text.xml10_content())?,
            Event::GeneralRef(name) => {
                let character = name.resolve_char_ref()?.map(String::from);
                let known = || resolve_predefined_entity(name.as_ref()).map(str::to_owned);
                let text = character.or_else(known);
                let name: &str = name.as_ref();
                state.text(&text.with_context(|| format!("found the unknown entity &{name};"))?)?;
            }
            Event::Eof => break,
            Event::Decl(_)
            | Event::PI(_)
            | Event::Comment(_)
            | Event::DocType(_)
            | Event::Empty(_) => {}
        }
    }
    ensure!(state.depth == 0, "found the end of the file in an open element: it is cut short");
    Ok(())
}

/// Where a document is being read.
struct State<'a> {
    kind: Kind,
    languages: [&'a str; 2],
    /// Elements that are open.
    depth: usize,
    /// For XLIFF: whether the source and the target of the file are those that are wanted.
    order: Option<[usize; 2]>,
    /// Which language the open segment is in, and the depth of its element.
    segment: Option<(usize, usize)>,
    /// The language of the open variant.
    variant: Option<usize>,
    /// The depth of the code that is open.
    code: Option<usize>,
    texts: [Option<String>; 2],
}

impl<'a> State<'a> {
    fn new(kind: Kind, languages: [&'a str; 2]) -> Self {
        Self {
            kind,
            languages,
            depth: 0,
            order: None,
            segment: None,
            variant: None,
            code: None,
            texts: [None, None],
        }
    }

    /// The place of a language among those that are wanted: `en-GB` is an `en`.
    fn place(&self, language: &str) -> Option<usize> {
        let same = |wanted: &&str| {
            language.eq_ignore_ascii_case(wanted)
                || language
                    .split(['-', '_'])
                    .next()
                    .is_some_and(|main| main.eq_ignore_ascii_case(wanted))
        };
        self.languages.iter().position(same)
    }

    fn open(&mut self, tag: &BytesStart<'_>) -> anyhow::Result<()> {
        self.depth += 1;
        let name = tag.local_name();
        let name: &str = name.as_ref();
        if self.code.is_some() {
            return Ok(());
        }
        if self.segment.is_some() {
            if CODES.contains(&name) {
                self.code = Some(self.depth);
            }
            return Ok(());
        }
        match (self.kind, name) {
            (Kind::Tmx, "tu") => self.texts = [None, None],
            (Kind::Tmx, "tuv") => {
                let language = attribute(tag, &["xml:lang", "lang"])?;
                self.variant = language.and_then(|language| self.place(&language));
            }
            (Kind::Tmx, "seg") => self.begin(self.variant),
            (Kind::Xliff, "file" | "xliff") => {
                let src = attribute(tag, &["source-language", "srcLang"])?;
                let tgt = attribute(tag, &["target-language", "trgLang"])?;
                if let (Some(src), Some(tgt)) = (src, tgt) {
                    let places = self.place(&src).zip(self.place(&tgt));
                    self.order = places.map(|(src, tgt)| [src, tgt]).filter(|[a, b]| a != b);
                }
            }
            (Kind::Xliff, "trans-unit" | "segment") => self.texts = [None, None],
            (Kind::Xliff, "source") => self.begin(self.order.map(|[src, _]| src)),
            (Kind::Xliff, "target") => self.begin(self.order.map(|[_, tgt]| tgt)),
            _ => {}
        }
        Ok(())
    }

    /// Begins a segment in a language, if it is wanted and has none in this unit.
    fn begin(&mut self, language: Option<usize>) {
        if let Some(language) = language.filter(|&language| self.texts[language].is_none()) {
            self.texts[language] = Some(String::new());
            self.segment = Some((language, self.depth));
        }
    }

    /// Closes an element; a unit that has both segments is given out.
    fn close(&mut self, name: &str) -> anyhow::Result<Option<[String; 2]>> {
        if self.code == Some(self.depth) {
            self.code = None;
        }
        if self.segment.is_some_and(|(_, depth)| depth == self.depth) {
            self.segment = None;
        }
        self.depth = self.depth.checked_sub(1).context("found an element that was not open")?;
        if self.segment.is_some() || !self.kind.unit().contains(&name) {
            return Ok(None);
        }
        let [src, tgt] = std::mem::take(&mut self.texts);
        let even = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let pair = src.zip(tgt).map(|(src, tgt)| [even(src), even(tgt)]);
        Ok(pair.filter(|pair| pair.iter().all(|text| !text.is_empty())))
    }

    fn text(&mut self, text: &str) -> anyhow::Result<()> {
        let Some((language, _)) = self.segment.filter(|_| self.code.is_none()) else {
            return Ok(());
        };
        if let Some(all) = &mut self.texts[language] {
            all.push_str(text);
            if all.len() as u64 > LONGEST {
                bail!("found a segment of more than {LONGEST} bytes");
            }
        }
        Ok(())
    }
}

/// The first of these attributes that an element has.
fn attribute(tag: &BytesStart<'_>, names: &[&str]) -> anyhow::Result<Option<String>> {
    for attribute in tag.attributes() {
        let attribute = attribute?;
        let key: &str = attribute.key.as_ref();
        if names.contains(&key) {
            let value = attribute.normalized_value(XmlVersion::Explicit1_0)?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

/// A reader that gives up where there is no `<` for long, as then all would come into memory.
struct Bounded<R> {
    inner: BufReader<R>,
    /// Bytes that were taken since the last `<`.
    since: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.since > LONGEST {
            let what = format!("no element begins for more than {LONGEST} bytes");
            return Err(io::Error::other(what));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        let taken = &self.inner.buffer()[..n];
        self.since = match taken.iter().rposition(|&byte| byte == b'<') {
            Some(place) => (n - place) as u64,
            None => self.since + n as u64,
        };
        self.inner.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(kind: Kind, text: &str) -> anyhow::Result<Vec<[String; 2]>> {
        let mut found = Vec::new();
        read(text.as_bytes(), kind, ["en", "de"], &mut |unit| {
            found.push(unit.map(str::to_owned));
            Ok(())
        })?;
        Ok(found)
    }

    fn owned(pairs: &[[&str; 2]]) -> Vec<[String; 2]> {
        pairs.iter().map(|pair| pair.map(str::to_owned)).collect()
    }

    #[test]
    fn units_of_a_memory_are_pairs_whatever_order_they_stand_in() {
        let text = r#"<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en-GB"><seg>A &lt;b&gt; &amp; c &#x2013;  d</seg></tuv>
    <tuv xml:lang="de"><seg>Ein
 B</seg></tuv></tu>
<tu><tuv xml:lang="DE"><seg><![CDATA[Zwei <3]]></seg></tuv><tuv lang="en"><seg>Two</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Alone</seg></tuv><tuv xml:lang="fr"><seg>Seul</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Empty</seg></tuv><tuv xml:lang="de"><seg> </seg></tuv></tu>
<tu><note>no text</note><tuv xml:lang="en"><seg><bpt i="1">{ </bpt>Bold<ept i="1">}</ept> <hi>x</hi><ph/></seg></tuv>
    <tuv xml:lang="de"><seg>Fett x</seg></tuv></tu>
</body></tmx>"#;
        let expected = [["A <b> & c – d", "Ein B"], ["Two", "Zwei <3"], ["Bold x", "Fett x"]];
        assert_eq!(units(Kind::Tmx, text).unwrap(), owned(&expected));
    }

    #[test]
    fn segments_of_both_versions_of_xliff_are_pairs() {
        let old = r#"<xliff version="1.2"><file source-language="de-DE" target-language="en-US">
<body><trans-unit id="1"><source>Hund <g id="1">schläft</g></source><target>Dog sleeps</target>
<alt-trans><source>x</source><target>y</target></alt-trans></trans-unit>
<trans-unit id="2"><source>Nur hier</source></trans-unit></body></file></xliff>"#;
        assert_eq!(units(Kind::Xliff, old).unwrap(), owned(&[["Dog sleeps", "Hund schläft"]]));
        let new = r#"<xliff version="2.0" srcLang="en" trgLang="de"><file id="f"><unit id="u">
<segment><source>A <pc id="1">cat</pc></source><target>Eine Katze</target></segment>
<segment><source>Two</source><target>Zwei</target></segment></unit></file></xliff>"#;
        let expected = [["A cat", "Eine Katze"], ["Two", "Zwei"]];
        assert_eq!(units(Kind::Xliff, new).unwrap(), owned(&expected));
        let other = new.replace("\"de\"", "\"fr\"");
        assert_eq!(units(Kind::Xliff, &other).unwrap(), owned(&[]));
    }

    #[test]
    fn what_is_no_whole_document_is_an_error() {
        let start = "<tmx><body><tu><tuv xml:lang=\"en\"><seg>A";
        for (text, complaint) in [
            (start.to_owned(), "cut short"),
            (format!("{start} &bomb; </seg>"), "unknown entity &bomb;"),
            (format!("{start}</tuv>"), "found no XML around byte"),
            (format!("<tmx>{}", " ".repeat(LONGEST as usize + (1 << 17))), "no element begins"),
        ] {
            let error = units(Kind::Tmx, &text).unwrap_err();
            assert!(format!("{error:#}").contains(complaint), "{error:#}");
        }
        let long = format!("{start}{}", "<i/> xxxxxxxx".repeat(LONGEST as usize / 8));
        let error = units(Kind::Tmx, &long).unwrap_err();
        assert!(error.to_string().contains("found a segment of more than"), "{error:#}");
    }

    #[test]
    fn documents_are_known_by_name_or_beginning() {
        assert_eq!(Kind::of("a.TMX", b""), Some(Kind::Tmx));
        assert_eq!(Kind::of("a.sdl.xlf", b""), Some(Kind::Xliff));
        assert_eq!(Kind::of("a", "\u{feff}<?xml?>\n<tmx version".as_bytes()), Some(Kind::Tmx));
        assert_eq!(Kind::of("a", b"<xliff>"), Some(Kind::Xliff));
        assert_eq!(Kind::of("a.txt", b"He wrote <tmx> here"), None);
    }
}
