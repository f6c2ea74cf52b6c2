//! `nmt import`: models of others as model directories of ours.

mod vocabulary;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use model::{
    Special, Vocabs,
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
    console::{Console, Hint, grouped},
    output::ensure_new,
};

/// Turn a Marian model into a model directory
///
/// Reads a folder in the form of the Hub's OPUS-MT models: config.json, model.safetensors,
/// source.spm, target.spm and vocab.json. The new directory is used like any other: it translates,
/// shows its alignments, is trained further and gets eight bits.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt import opus-mt-en-de --out en-de
  nmt translate en-de input.txt
  nmt export en-de --precision int8 --out en-de-int8")]
pub(crate) struct Import {
    /// Folder with the model
    folder: PathBuf,

    /// Write the model to DIR
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
}

/// Files of a folder.
const VOCAB: &str = "vocab.json";
const TGT_VOCAB: &str = "target_vocab.json";
const SRC_PIECES: &str = "source.spm";
const TGT_PIECES: &str = "target.spm";

impl Import {
    /// Reads the folder and writes the new directory.
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        let (folder, out) = (&self.folder, &self.out);
        ensure_new(out)?;
        if !folder.is_dir() {
            bail!("there is no folder {}", folder.display());
        }
        let marian = MarianDir::open(folder).or_else(|error| {
            let pickled = matches!(error, model::Error::Pickled { .. });
            Err(error).hint(if pickled {
                "most models have model.safetensors as well, on another branch of their repository; \
                 else load it with `transformers` where you trust it, and save it with \
                 `safe_serialization=True`"
            } else {
                "a folder of an OPUS-MT model holds config.json, model.safetensors, source.spm, \
                 target.spm and vocab.json"
            })
        })?;
        let config = marian.config();
        let [src, tgt] = vocabularies(folder, config)?;
        let tokenizers = tokenizers(folder, [&src, &tgt])?;
        let vocabs = Vocabs {
            src: tokenizers.src.vocab_size(),
            tgt: tokenizers.tgt.vocab_size(),
            joint: tokenizers.share_ids(),
            src_fingerprint: tokenizers.src.fingerprint(),
            tgt_fingerprint: tokenizers.tgt.fingerprint(),
        };
        let special =
            Special { pad: vocab::PAD, unk: vocab::UNK, bos: vocab::BOS, eos: vocab::EOS };
        let (n_src, n_tgt) = (vocabs.src, vocabs.tgt);
        let model = marian.model([&src.rows, &tgt.rows], vocabs, special)?;
        let search = search(folder)?;
        train::write(&model, &tokenizers, &search, &card(folder), out)?;

        let parameters: usize = model.parameters().iter().map(|(_, var)| var.elem_count()).sum();
        console.note("model", format!("{} parameters", grouped(parameters)));
        console.note("vocab", format!("{} + {}", grouped(n_src), grouped(n_tgt)));
        console.note("next", format_args!("nmt translate {}", out.display()));
        Ok(())
    }
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
            folder.join("config.json").display(),
            config.eos_token_id,
            eos.unwrap_or_default()
        );
    }
    let src = if config.shared() { tgt.clone() } else { read(VOCAB, config.src_vocab(), None)? };
    Ok([src, tgt])
}

/// Tokenizers with these vocabularies.
fn tokenizers(folder: &Path, [src, tgt]: [&Vocabulary; 2]) -> anyhow::Result<Tokenizers> {
    let open = |name: &str| {
        SentencePiece::open(&folder.join(name))
            .hint("a folder of an OPUS-MT model holds source.spm and target.spm")
    };
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
    for name in [search::FILE, "config.json"] {
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

/// The description of the new directory: that of the folder, if it has one, below where it is from.
fn card(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    let theirs = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    format!("# {name}, imported\n\nThe weights are those of `{name}`, a Marian model.\n\n{theirs}")
}
