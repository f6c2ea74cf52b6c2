//! Marian's Transformers, as the Hub keeps them: `config.json` and `model.safetensors` in the form
//! of the `transformers` library.
//!
//! The network is that of Vaswani et al. (2017), normalised after each sublayer, and so is ours.
//! What differs is how it is written down:
//!
//! - Positions have all sines first and then all cosines; ours alternate. The order of the numbers
//!   that flow between layers has no meaning of its own, so the parameters are reordered once.
//! - Queries, keys and values are projected by a matrix each; ours stand in one.
//! - The decoder begins with the padding token; its row is our beginning of sentence.

mod config;
mod reader;
mod writer;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor, Var};

pub use self::config::MarianConfig;
use self::reader::Reader;
pub use self::writer::{Generation, save};
use crate::checkpoint::{CONFIG, WEIGHTS};
use crate::config::Tie;
use crate::parameters::Parameters;
use crate::rnn::tables;
use crate::{
    Error, Model, ModelConfig, Precision, Result, SearchPrecision, Spec, Special, Vocabs, specs,
};

/// Weights in another form than this program reads.
const PICKLED: &str = "pytorch_model.bin";

/// What tokens score that a model cannot produce: far below any logit, and still a number that
/// training can work with.
const NEVER: f32 = -1e4;

/// A folder with a model of Marian's.
#[derive(Debug)]
pub struct MarianDir {
    config: MarianConfig,
    weights: Vec<u8>,
    path: PathBuf,
}

/// For each id of ours, the row of Marian's table; none for a token that Marian does not have.
pub type Rows = Vec<Option<u32>>;

impl MarianDir {
    /// Reads configuration and weights.
    ///
    /// # Errors
    /// If a file is missing, is larger than its head says, or describes another network.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = MarianConfig::open(dir)?;
        let path = dir.join(WEIGHTS);
        if !path.is_file() {
            if dir.join(PICKLED).is_file() {
                return Err(Error::Pickled { path: dir.join(PICKLED) });
            }
            return Err(Error::Incomplete { dir: dir.into(), missing: WEIGHTS });
        }
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        let size = fs::metadata(&path).map_err(io)?.len();
        let limit = largest(&config)?;
        if size > limit {
            let reason = format!("{WEIGHTS} has {size} bytes, for this network at most {limit}");
            return Err(Error::NotMarian { path: dir.join(CONFIG), reason });
        }
        let weights = fs::read(&path).map_err(io)?;
        Ok(Self { config, weights, path })
    }

    /// What the folder says about the network.
    pub fn config(&self) -> &MarianConfig {
        &self.config
    }

    /// The model, with vocabularies whose ids have these rows in Marian's tables.
    ///
    /// # Errors
    /// If parameters are missing, of another shape or not known, or a row lies outside its table.
    pub fn model(&self, [src, tgt]: [&Rows; 2], vocabs: Vocabs, special: Special) -> Result<Model> {
        let config = self.config.transformer();
        let names = specs(&ModelConfig::Transformer(config.clone()), &vocabs)?;
        let mut reader = Reader::new(&self.weights, &self.path, &self.config)?;
        let mut read: BTreeMap<String, Vec<f32>> = BTreeMap::new();

        let (src_table, tgt_table, output) = tables(config.tie);
        let scale = self.config.table_scale();
        let (reads, writes) = (reader.tables()?, reader.output()?);
        let shrink = |table: Vec<f32>| table.into_iter().map(|x| x * scale).collect::<Vec<_>>();
        read.insert(output.into(), reader.rows(&writes, tgt, self.config.tgt_vocab())?);
        if tgt_table != output {
            let table = reader.rows(&reads.tgt, tgt, self.config.tgt_vocab())?;
            read.insert(tgt_table.into(), shrink(table));
        }
        if src_table != output && src_table != tgt_table {
            let table = reader.rows(&reads.src, src, self.config.src_vocab())?;
            read.insert(src_table.into(), shrink(table));
        }
        let bias = reader.bias()?;
        let of_row = |row: &Option<u32>| row.map_or(NEVER, |row| bias[row as usize]);
        read.insert("output.bias".into(), tgt.iter().map(of_row).collect());

        for (stack, layers) in
            [("encoder", config.encoder_layers), ("decoder", config.decoder_layers)]
        {
            for layer in 0..layers.get() {
                reader.layer(stack, layer, &mut read)?;
            }
        }
        reader.finish()?;

        let mut vars = BTreeMap::new();
        for spec in names {
            let values = read.remove(&spec.name).ok_or_else(|| Error::MissingParameter {
                path: self.path.clone(),
                name: spec.name.clone(),
            })?;
            let tensor = Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)?;
            vars.insert(spec.name, Var::from_tensor(&tensor)?);
        }
        Ok(Model {
            config: ModelConfig::Transformer(config),
            precision: Precision::default(),
            stored: SearchPrecision::default(),
            vocabs,
            special,
            parameters: Parameters::from_vars(vars),
        })
    }
}

/// Most bytes of a weight file: four times what the parameters need in `f32`, for tables that stand
/// in it more than once, and its head.
fn largest(config: &MarianConfig) -> Result<u64> {
    const HEAD: u64 = 1 << 26;
    let network = ModelConfig::Transformer(config.transformer());
    let vocabs = Vocabs {
        src: config.src_vocab(),
        tgt: config.tgt_vocab(),
        joint: config.shared(),
        ..Vocabs::default()
    };
    let size =
        |spec: Spec| spec.shape.iter().fold(16, |size: u64, &n| size.saturating_mul(n as u64));
    let sizes = specs(&network, &vocabs)?.into_iter().map(size);
    Ok(sizes.fold(HEAD, u64::saturating_add))
}

impl MarianConfig {
    /// What the tables that words are read from are multiplied by: ours always by `√dim` again.
    fn table_scale(&self) -> f32 {
        if self.scale_embedding { 1.0 } else { (self.d_model as f32).sqrt().recip() }
    }

    /// Which tables are one.
    fn tie(&self) -> Tie {
        match (self.shared(), self.tie_word_embeddings, self.scale_embedding) {
            (true, true, true) => Tie::All,
            (false, true, true) => Tie::Target,
            (true, ..) => Tie::Source,
            (false, ..) => Tie::None,
        }
    }
}
