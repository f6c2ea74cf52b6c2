//! The corpora that `nmt fetch` knows: where they are, what they hold, who may use them.

/// A public parallel corpus.
#[derive(Debug)]
pub(super) struct Corpus {
    pub(super) name: &'static str,
    /// What it is, in a few words.
    pub(super) about: &'static str,
    /// Languages: source, target.
    pub(super) languages: [&'static str; 2],
    /// Training pairs; all pairs where there is no official split.
    pub(super) pairs: &'static str,
    pub(super) licence: &'static str,
    /// Folder of the files, to which their names are added.
    pub(super) url: &'static str,
    pub(super) files: Files,
}

impl Corpus {
    /// Names of the files to download.
    pub(super) fn names(&self) -> Vec<&'static str> {
        match &self.files {
            Files::Lines(parts) => {
                parts.iter().flat_map(|part| &part.files).map(|file| file.0).collect()
            }
            Files::Tsv { archive, .. } => vec![archive],
        }
    }

    /// The zip archive that holds the corpus, if one does.
    pub(super) fn archive(&self) -> Option<&'static str> {
        match &self.files {
            Files::Lines(_) => None,
            Files::Tsv { archive, .. } => Some(archive),
        }
    }
}

/// How a corpus is stored.
#[derive(Debug)]
pub(super) enum Files {
    /// Two files for each part, one sentence a line.
    Lines(&'static [Part]),
    /// Lines of source, tab, target; split here by the source sentence. A new export appears
    /// every few weeks, so another checksum is worth a note and no more.
    Tsv { archive: &'static str, file: File },
}

/// A part of a corpus: `train`, `valid` or `test`.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) files: [File; 2],
}

/// The name of a file, and the SHA-256 of its unpacked text or [`UNKNOWN`].
pub(super) type File = (&'static str, &'static str);

/// Stands for a checksum where there is none to compare with.
pub(super) const UNKNOWN: &str = "";

const fn part(name: &'static str, files: [File; 2]) -> Part {
    Part { name, files }
}

const MULTI30K_RAW: &str = "https://raw.githubusercontent.com/multi30k/dataset/\
                            a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/";
const MULTI30K_TOK: &str = "https://raw.githubusercontent.com/multi30k/dataset/\
                            a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/tok/";
const MULTI30K_LICENCE: &str = "non-commercial research and education (Flickr30k captions)";
const TATOEBA: &str = "https://www.manythings.org/anki/";
const TATOEBA_LICENCE: &str = "CC-BY 2.0 FR, attribution to tatoeba.org and manythings.org/anki";

const TATOEBA_TESTS: &str = "CC-BY 2.0 FR, attribution to tatoeba.org";

/// A test set of the Tatoeba challenge (Tiedemann, 2020).
const fn tatoeba_test(
    name: &'static str,
    languages: [&'static str; 2],
    pairs: &'static str,
    url: &'static str,
    parts: &'static [Part],
) -> Corpus {
    Corpus {
        name,
        about: "official test set of the Tatoeba challenge, no training data",
        languages,
        pairs,
        licence: TATOEBA_TESTS,
        url,
        files: Files::Lines(parts),
    }
}

/// All of them.
pub(super) const CORPORA: [Corpus; 12] = [
    Corpus {
        name: "multi30k-en-de",
        about: "image captions",
        languages: ["en", "de"],
        pairs: "29,000",
        licence: MULTI30K_LICENCE,
        url: MULTI30K_RAW,
        files: Files::Lines(&[
            part(
                "train",
                [
                    (
                        "train.en.gz",
                        "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
                    ),
                    (
                        "train.de.gz",
                        "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
                    ),
                ],
            ),
            part(
                "valid",
                [
                    (
                        "val.en.gz",
                        "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
                    ),
                    (
                        "val.de.gz",
                        "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
                    ),
                ],
            ),
            part(
                "test",
                [
                    (
                        "test_2016_flickr.en.gz",
                        "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
                    ),
                    (
                        "test_2016_flickr.de.gz",
                        "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
                    ),
                ],
            ),
        ]),
    },
    Corpus {
        name: "multi30k-en-fr",
        about: "image captions",
        languages: ["en", "fr"],
        pairs: "29,000",
        licence: MULTI30K_LICENCE,
        url: MULTI30K_RAW,
        files: Files::Lines(&[
            part(
                "train",
                [
                    (
                        "train.en.gz",
                        "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
                    ),
                    (
                        "train.fr.gz",
                        "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d",
                    ),
                ],
            ),
            part(
                "valid",
                [
                    (
                        "val.en.gz",
                        "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
                    ),
                    (
                        "val.fr.gz",
                        "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc",
                    ),
                ],
            ),
            part(
                "test",
                [
                    (
                        "test_2016_flickr.en.gz",
                        "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
                    ),
                    (
                        "test_2016_flickr.fr.gz",
                        "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6",
                    ),
                ],
            ),
        ]),
    },
    Corpus {
        name: "multi30k-tok-en-de",
        about: "image captions, official lower-cased tokenised files",
        languages: ["en", "de"],
        pairs: "29,000",
        licence: MULTI30K_LICENCE,
        url: MULTI30K_TOK,
        files: Files::Lines(&[
            part(
                "train",
                [
                    (
                        "train.lc.norm.tok.en",
                        "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
                    ),
                    (
                        "train.lc.norm.tok.de",
                        "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
                    ),
                ],
            ),
            part(
                "valid",
                [
                    (
                        "val.lc.norm.tok.en",
                        "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
                    ),
                    (
                        "val.lc.norm.tok.de",
                        "97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
                    ),
                ],
            ),
            part(
                "test",
                [
                    (
                        "test_2016_flickr.lc.norm.tok.en",
                        "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
                    ),
                    (
                        "test_2016_flickr.lc.norm.tok.de",
                        "c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4",
                    ),
                ],
            ),
        ]),
    },
    Corpus {
        name: "multi30k-tok-en-fr",
        about: "image captions, official lower-cased tokenised files",
        languages: ["en", "fr"],
        pairs: "29,000",
        licence: MULTI30K_LICENCE,
        url: MULTI30K_TOK,
        files: Files::Lines(&[
            part(
                "train",
                [
                    (
                        "train.lc.norm.tok.en",
                        "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
                    ),
                    (
                        "train.lc.norm.tok.fr",
                        "8fa41bb718412bcb7c5dfa58603842810a01543eae86a51279f9886b901266e1",
                    ),
                ],
            ),
            part(
                "valid",
                [
                    (
                        "val.lc.norm.tok.en",
                        "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
                    ),
                    (
                        "val.lc.norm.tok.fr",
                        "b303e301aa21fe7822a846b2b3fb2d5a1121ec807cd5b1d006fb7b2b5507168a",
                    ),
                ],
            ),
            part(
                "test",
                [
                    (
                        "test_2016_flickr.lc.norm.tok.en",
                        "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
                    ),
                    (
                        "test_2016_flickr.lc.norm.tok.fr",
                        "1463bd5960f9bfe098ec3cd752d3df0c49c84dc646fb518964a29232658cd836",
                    ),
                ],
            ),
        ]),
    },
    Corpus {
        name: "iwslt15-en-vi",
        about: "TED talks, Stanford preparation, tokenised",
        languages: ["en", "vi"],
        pairs: "133,317",
        licence: "CC BY-NC-ND 4.0 (TED), research use",
        url: "https://nlp.stanford.edu/projects/nmt/data/iwslt15.en-vi/",
        files: Files::Lines(&[
            part("train", [("train.en", UNKNOWN), ("train.vi", UNKNOWN)]),
            part(
                "valid",
                [
                    (
                        "tst2012.en",
                        "b8fbcd0d4199d41276421d1f7228298df67dd9e2c5c134c2ee8cdf3ec27801e2",
                    ),
                    (
                        "tst2012.vi",
                        "01004078b3f36b0c46e81b65fc6851230b3c823405c76d1d82ef3b786b512ff0",
                    ),
                ],
            ),
            part(
                "test",
                [
                    (
                        "tst2013.en",
                        "3860ce60bc5b85d96cc2d3d580cf1bc9d62440e939c1b964676d3607c4e8f1df",
                    ),
                    (
                        "tst2013.vi",
                        "29af16842808da2812b8fd4d47fc05d082ba870e60ab7755090ad04b380994cd",
                    ),
                ],
            ),
        ]),
    },
    Corpus {
        name: "tatoeba-en-de",
        about: "everyday sentences",
        languages: ["en", "de"],
        pairs: "169,197",
        licence: TATOEBA_LICENCE,
        url: TATOEBA,
        files: Files::Tsv {
            archive: "deu-eng.zip",
            file: ("deu.txt", "7a363bf8587f1a9f895583574c7195071b02f9dfdf4d0d6605947c6b5e0c25a8"),
        },
    },
    Corpus {
        name: "tatoeba-en-es",
        about: "everyday sentences",
        languages: ["en", "es"],
        pairs: "140,868",
        licence: TATOEBA_LICENCE,
        url: TATOEBA,
        files: Files::Tsv {
            archive: "spa-eng.zip",
            file: ("spa.txt", "39cf9a51fed201f44c13dca0d2ace806e51624640242b160c20114916549407b"),
        },
    },
    Corpus {
        name: "tatoeba-en-fr",
        about: "everyday sentences",
        languages: ["en", "fr"],
        pairs: "167,130",
        licence: TATOEBA_LICENCE,
        url: TATOEBA,
        files: Files::Tsv {
            archive: "fra-eng.zip",
            file: ("fra.txt", "0bb85dbaa1c896844649094d7eaf2e34bee34e84fe362b26ce7e8f2e12aae104"),
        },
    },
    tatoeba_test(
        "tatoeba-test-en-de",
        ["en", "de"],
        "17,565",
        "https://raw.githubusercontent.com/Helsinki-NLP/OPUS-MT-testsets/\
         ac0f19c0be3cb4e0d9450fcb2d7a9847c4bdd180/testsets/deu-eng/",
        &[part(
            "test",
            [
                (
                    "tatoeba-test-v2021-08-07.eng",
                    "5d0e3169914a5e3f4ca7bdec670880f2025385c5a7e29547d9cbd7992105e77f",
                ),
                (
                    "tatoeba-test-v2021-08-07.deu",
                    "a06d3300c05158e83bb5c1709a0bf5aecc2e28c895e66f03b1c914a7fdd8c8c6",
                ),
            ],
        )],
    ),
    tatoeba_test(
        "tatoeba-test-en-es",
        ["en", "es"],
        "16,583",
        "https://raw.githubusercontent.com/Helsinki-NLP/OPUS-MT-testsets/\
         ac0f19c0be3cb4e0d9450fcb2d7a9847c4bdd180/testsets/eng-spa/",
        &[part(
            "test",
            [
                (
                    "tatoeba-test-v2021-08-07.eng",
                    "74da6b3ced819694959c14aadda79876abcd8d0aa6163a79fa4381bfb473c23e",
                ),
                (
                    "tatoeba-test-v2021-08-07.spa",
                    "204c4d49224aa8bb974927daee66368c1b00068e3b6815fdba41d1265699cd93",
                ),
            ],
        )],
    ),
    tatoeba_test(
        "tatoeba-test-en-fr",
        ["en", "fr"],
        "12,681",
        "https://raw.githubusercontent.com/Helsinki-NLP/OPUS-MT-testsets/\
         ac0f19c0be3cb4e0d9450fcb2d7a9847c4bdd180/testsets/eng-fra/",
        &[part(
            "test",
            [
                (
                    "tatoeba-test-v2021-08-07.eng",
                    "714a848bd6ab4421cafd1b9b09fd26328306fab1bc8006e820fa77a8cbe57636",
                ),
                (
                    "tatoeba-test-v2021-08-07.fra",
                    "095313ff04016e5ddeff7557d1c5590f19724d239e424cab313b2d03ca66d365",
                ),
            ],
        )],
    ),
    Corpus {
        name: "tanaka-en-ja",
        about: "everyday sentences of 4 to 16 words, tokenised",
        languages: ["en", "ja"],
        pairs: "50,000",
        licence: "CC-BY 2.0 FR, from the Tanaka corpus, which is part of Tatoeba",
        url: "https://raw.githubusercontent.com/odashi/small_parallel_enja/\
              312408a11c5fbcbc09443bebb18121f7efdcd61e/",
        files: Files::Lines(&[
            part(
                "train",
                [
                    (
                        "train.en",
                        "148b05dcd28638fe20ee84f2b1127001c80982be352007dda241fb759adadc76",
                    ),
                    (
                        "train.ja",
                        "fc81a1434349ec98a449d7ae9cd2530057f689637684ecfed3501ea6a8a07ecc",
                    ),
                ],
            ),
            part(
                "valid",
                [
                    ("dev.en", "04a2673449770657fd5e3b963cb856be3130923212b6db8ac7eaeef18f06c041"),
                    ("dev.ja", "cd534f56b8639dc130f86a365e5ec0aa70042000bdd740a622fbbf8b6be4acca"),
                ],
            ),
            part(
                "test",
                [
                    ("test.en", "45edb380749ec2b49cca7618fc5a7595fc9f791180672ba466b90c873a4aa8bf"),
                    ("test.ja", "d37dc460a81b064e4106c8913eb11fa300da05cf3f58a7a5bbfec7e20947ddef"),
                ],
            ),
        ]),
    },
];
