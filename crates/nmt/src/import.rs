//! `nmt import`: models of others as model directories of ours.

mod vocabulary;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use model::{
    ModelDir, SHORTLIST, Special, Vocabs,
    checkpoint::{CONFIG, MODEL_TYPE, WEIGHTS},
    marian::{MarianConfig, MarianDir},
};
use serde::Deserialize;
use text::{SentencePiece, Tokenizers, vocab};
use translate::{
    SearchConfig,
    search::{self, LengthPenalty},
};

use self::vocabulary::Vocabulary;
use crate::{
    card,
    console::{Console, Hint, grouped},
    output::ensure_new,
    web::{Hub, Network, is_repository},
};

/// Turn a model of the Hub, or of a folder, into a model directory
///
/// Reads Marian models, such as those of OPUS-MT, in the form of the Hub: config.json,
/// model.safetensors, source.spm, target.spm and vocab.json; and models that this program wrote. The
/// new directory is used like any other: it translates, shows its alignments, is trained further and
/// gets eight bits.
///
/// Models of the Hub are downloaded into a cache. HF_ENDPOINT is the address of the Hub, HF_TOKEN says
/// who asks, and with HF_HUB_OFFLINE=1 only the cache is looked at.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt import Helsinki-NLP/opus-mt-en-de --out en-de
  nmt import folder-of-a-model --out en-de
  nmt translate en-de input.txt
  nmt export en-de --precision int8 --out en-de-int8")]
pub(crate) struct Import {
    /// Folder with the model, or OWNER/NAME of a model on the Hub
    #[arg(value_name = "MODEL")]
    model: String,

    /// Take this version of a model of the Hub: a branch, a tag or a commit
    #[arg(long, value_name = "NAME", default_value = "main", help_heading = "Input")]
    revision: String,

    /// Write the model to DIR
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,

    #[command(flatten)]
    network: Network,
}

/// Files of a folder.
const VOCAB: &str = "vocab.json";
const TGT_VOCAB: &str = "target_vocab.json";
const SRC_PIECES: &str = "source.spm";
const TGT_PIECES: &str = "target.spm";
const PICKLED: &str = "pytorch_model.bin";

/// All that a model may consist of, Marian's or ours.
const FILES: [&str; 14] = [
    CONFIG,
    WEIGHTS,
    search::FILE,
    VOCAB,
    TGT_VOCAB,
    SRC_PIECES,
    TGT_PIECES,
    "README.md",
    "tokenizer.json",
    "tokenizer.src.json",
    "tokenizer.tgt.json",
    "normalize.json",
    "alignment.json",
    SHORTLIST,
];

const NEEDED: &str = "a Marian model consists of config.json, model.safetensors, source.spm, \
                      target.spm and vocab.json";
const UNPICKLE: &str = "many models have model.safetensors on another branch: `--revision`; else load \
                        it with `transformers` where you trust it, and save it from there";

impl Import {
    /// Reads the model and writes the new directory.
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        let out = &self.out;
        ensure_new(out)?;
        let folder = self.folder(console)?;
        let (folder, name) = (folder.as_path(), self.model.as_str());
        if is_ours(folder) {
            train::copy(folder, out, &card::of(folder))?;
        } else {
            marian(folder, name, out)?;
        }
        let model = ModelDir::open(out)?;
        let vocabs = model.vocabs();
        console.note("vocab", format!("{} + {}", grouped(vocabs.src), grouped(vocabs.tgt)));
        console.note("next", format_args!("nmt translate {}", out.display()));
        Ok(())
    }

    /// The folder that the model is in, once it is on this machine.
    fn folder(&self, console: &Console) -> anyhow::Result<PathBuf> {
        let folder = Path::new(&self.model);
        if folder.is_dir() {
            return Ok(folder.to_owned());
        }
        let name = &self.model;
        if !is_repository(name) {
            bail!("there is no folder {name}, and no model of the Hub can have that name");
        }
        let hub = Hub::new(self.network.clone(), console)?;
        let found = hub.model(name, &self.revision, &FILES)?;
        let has = |file: &str| found.names.iter().any(|name| name == file);
        if !has(WEIGHTS) && has(PICKLED) {
            let path = folder.join(PICKLED);
            return Err(model::Error::Pickled { path }).hint(UNPICKLE);
        }
        for file in [CONFIG, WEIGHTS] {
            if !has(file) {
                return Err(anyhow!("{name} has no {file}")).hint(NEEDED);
            }
        }
        Ok(found.folder)
    }
}

/// Whether a folder holds a model of this program.
fn is_ours(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Head {
        model_type: String,
    }
    let content = fs::read(folder.join(CONFIG)).unwrap_or_default();
    serde_json::from_slice(&content).is_ok_and(|head: Head| head.model_type == MODEL_TYPE)
}

/// Writes the Marian model of a folder as a directory of ours.
fn marian(folder: &Path, name: &str, out: &Path) -> anyhow::Result<()> {
    let marian = MarianDir::open(folder).or_else(|error| {
        let pickled = matches!(error, model::Error::Pickled { .. });
        Err(error).hint(if pickled { UNPICKLE } else { NEEDED })
    })?;
    let [src, tgt] = vocabularies(folder, marian.config())?;
    let tokenizers = tokenizers(folder, [&src, &tgt])?;
    let vocabs = Vocabs {
        src: tokenizers.src.vocab_size(),
        tgt: tokenizers.tgt.vocab_size(),
        joint: tokenizers.share_ids(),
        src_fingerprint: tokenizers.src.fingerprint(),
        tgt_fingerprint: tokenizers.tgt.fingerprint(),
    };
    let special = Special { pad: vocab::PAD, unk: vocab::UNK, bos: vocab::BOS, eos: vocab::EOS };
    let model = marian.model([&src.rows, &tgt.rows], vocabs, special)?;
    let note =
        format!("The weights are those of `{name}`, a Marian model, imported by `nmt import`.");
    let card = card::with_note(folder, &note);
    Ok(train::write(&model, &tokenizers, &search(folder)?, &card, out)?)
}

/// The vocabularies of both sides.
fn vocabularies(folder: &Path, config: &MarianConfig) -> anyhow::Result<[Vocabulary; 2]> {
    let start = config.decoder_start_token_id;
    let read = |name: &str, size: usize, start| -> anyhow::Result<Vocabulary> {
        let path = folder.join(name);
        Vocabulary::open(&path, size, start).with_context(|| path.display().to_string())
    };
    let tgt_name = if config.shared() { VOCAB } else { TGT_VOCAB };
    let tgt = read(tgt_name, config.tgt_vocab(), Some(start))?;
    let eos = tgt.rows[vocab::EOS as usize];
    if eos != Some(config.eos_token_id) {
        bail!(
            "{}: `eos_token_id` is {}, but {tgt_name} has </s> at {}",
            folder.join(CONFIG).display(),
            config.eos_token_id,
            eos.unwrap_or_default()
        );
    }
    let src = if config.shared() { tgt.clone() } else { read(VOCAB, config.src_vocab(), None)? };
    Ok([src, tgt])
}

/// Tokenizers with these vocabularies.
fn tokenizers(folder: &Path, [src, tgt]: [&Vocabulary; 2]) -> anyhow::Result<Tokenizers> {
    let open = |name: &str| SentencePiece::open(&folder.join(name)).hint(NEEDED);
    let models = [open(SRC_PIECES)?, open(TGT_PIECES)?];
    Ok(Tokenizers::of_sentence_pieces([&models[0], &models[1]], [&src.entries, &tgt.entries])?)
}

/// What the Hub's files say about search; old folders say it in config.json.
#[derive(Debug, Default, Deserialize)]
struct Generation {
    num_beams: Option<usize>,
    length_penalty: Option<f64>,
    max_length: Option<usize>,
}

/// How the model is searched: as its folder says, but a little wider than the least.
fn search(folder: &Path) -> anyhow::Result<SearchConfig> {
    let mut found = Generation::default();
    for name in [search::FILE, CONFIG] {
        let path = folder.join(name);
        let Ok(content) = fs::read(&path) else { continue };
        let read: Generation =
            serde_json::from_slice(&content).with_context(|| path.display().to_string())?;
        found = Generation {
            num_beams: found.num_beams.or(read.num_beams),
            length_penalty: found.length_penalty.or(read.length_penalty),
            max_length: found.max_length.or(read.max_length),
        };
    }
    let mut search = SearchConfig { min_len: 0, ..SearchConfig::default() };
    if let Some(beam) = found.num_beams.and_then(|n| n.try_into().ok()) {
        search.beam = beam;
    }
    let alpha = found.length_penalty.unwrap_or(1.0).try_into();
    search.length_penalty = LengthPenalty::Average(alpha.map_err(anyhow::Error::msg)?);
    if let Some(longest) = found.max_length {
        // The first token and the last one count there.
        search.max_len_offset = longest.saturating_sub(2);
        search.max_len_factor = 0.0.try_into().map_err(anyhow::Error::msg)?;
    }
    Ok(search)
}
