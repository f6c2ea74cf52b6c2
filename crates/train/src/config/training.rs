//! The `[training]` table: how long, in what steps, with which optimizer.

use std::num::{NonZeroU64, NonZeroUsize};

use model::Precision;
use serde::{Deserialize, Serialize};

use text::Sampling;

use super::{
    BatchTokens, BpeDropout, Every, Guided, NonNegative, Pattern, Positive, Rate, UnigramSampling,
};

/// How a model is trained. At least one of [`updates`](Self::updates),
/// [`epochs`](Self::epochs), [`max_minutes`](Self::max_minutes) and
/// [`early_stopping`](Self::early_stopping) must be given; training ends when the first of them
/// is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Stop after so many updates of the parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<NonZeroU64>,
    /// Stop after so many passes over the training data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<NonZeroU64>,
    /// Stop after so many minutes of training; what interrupted runs took is counted. The
    /// last validation and the averaging come on top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_minutes: Option<Positive>,
    /// Stop when validation has not improved for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,

    /// Most tokens in a batch, on either side, with padding and ends of sentences; or `"fit"`, as
    /// many as the memory at hand holds. The run's `config.toml` has the number that was found.
    pub batch_tokens: BatchTokens,
    /// Batches whose gradients make one update. Two batches of 2,048 tokens need half the
    /// memory of one of 4,096.
    pub accumulate: NonZeroUsize,
    /// How gradients move parameters: `"adam"`, `"adamw"`, `"sgd"`, or a table of that name
    /// with settings, `[training.optimizer.adam]`.
    pub optimizer: OptimizerConfig,
    /// Learning rate; the highest one if the schedule changes it.
    pub lr: Positive,
    /// How the learning rate changes: `"constant"`, or a table such as
    /// `[training.schedule.inverse-sqrt]`.
    pub schedule: Schedule,
    /// Probability mass that the training objective spreads over all tokens instead of the
    /// reference's (Szegedy et al., 2016, §7). Reported losses are without it.
    pub label_smoothing: Rate,
    /// With a value above 0, every pair goes through the network twice, under different dropout
    /// masks, and the divergence of the two predictions, times this, joins the objective (R-Drop;
    /// Liang et al., 2021; 5 in the paper). Twice the time for each update; 0 turns it off.
    pub r_drop: NonNegative,
    /// Lets attention learn to look where word links say: the table `[training.guided]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guided: Option<Guided>,
    /// How the matrix products of training are computed: `"f32"`, or `"bf16"`, which rounds their
    /// factors to bfloat16 and is faster on processors that have such instructions. Validation
    /// and the saved model are `f32` in both.
    pub precision: Precision,
    /// Gradients, in nats per target token, are scaled down to this norm if theirs is larger;
    /// 0 turns it off.
    pub clip_norm: NonNegative,

    /// Cuts training sentences into other subwords in each epoch, for BPE tokenizers:
    /// `{ src = 0.1, tgt = 0.1 }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bpe_dropout: Option<BpeDropout>,
    /// The same for unigram tokenizers: `{ src = 0.2, tgt = 0.2 }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unigram_sampling: Option<UnigramSampling>,
    /// Decay of a moving average of the weights, such as 0.999 (Polyak and Juditsky, 1992). The
    /// average is what is validated and saved, while training goes on with the weights
    /// themselves. In the first updates the decay is smaller, `(1 + step) / (10 + step)`, so
    /// that the average does not remember the initial weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<Rate>,
    /// Parameters that keep their values, by patterns such as `"encoder.*"`: no update, no
    /// decay, no share in the gradient's norm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Pattern>,

    /// Updates between two lines of the log.
    pub report_every: NonZeroU64,
    /// When to validate and save a checkpoint: `500` (updates) or `"1 epoch"`.
    pub validate_every: Every,
    /// How many lines of the development set are translated at a validation, the first ones;
    /// perplexity is always that of all. Without the key all are translated; with 0 none are,
    /// and there is no BLEU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translate_lines: Option<usize>,
    /// How many sentences of the development set are watched: at each validation the attention to
    /// them is recorded, given the reference. They are evenly spaced among those of at most 40
    /// tokens. 0 turns it off.
    pub watch: usize,
    /// How many checkpoints to keep: the last ones, and besides them the best.
    pub keep: NonZeroUsize,
    /// How many of the last checkpoints are averaged at the end; 0 or 1 turns it off.
    pub average: usize,
    /// Threads to compute with; all processors without the key. Does not change the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroUsize>,
}

impl Training {
    /// What decides which checkpoint is the best.
    pub fn metric(&self) -> Metric {
        self.early_stopping.map_or(Metric::Perplexity, |stopping| stopping.metric)
    }

    /// How source and target are cut into subwords; nothing where it is always as usual.
    pub(crate) fn sampling(&self) -> [Option<Sampling>; 2] {
        match (self.bpe_dropout, self.unigram_sampling) {
            (Some(dropout), _) => dropout.sides(),
            (None, Some(sampling)) => sampling.sides(),
            (None, None) => [None, None],
        }
    }
}

impl Default for Training {
    fn default() -> Self {
        Self {
            updates: None,
            epochs: None,
            max_minutes: None,
            early_stopping: None,
            batch_tokens: BatchTokens::Tokens(size(4096)),
            accumulate: size(1),
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            lr: positive(5e-4),
            schedule: Schedule::Constant,
            label_smoothing: rate(0.0),
            r_drop: no_decay(),
            guided: None,
            precision: Precision::F32,
            clip_norm: NonNegative::try_from(1.0).expect("one is not negative"),
            bpe_dropout: None,
            unigram_sampling: None,
            ema: None,
            freeze: Vec::new(),
            report_every: NonZeroU64::new(100).expect("not zero"),
            validate_every: Every::Epochs(NonZeroU64::MIN),
            translate_lines: None,
            watch: 4,
            keep: size(5),
            average: 5,
            threads: None,
        }
    }
}

/// When to give up hoping for improvement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// What should improve. It also decides which checkpoint is the best.
    #[serde(default)]
    pub metric: Metric,
    /// Stop after so many validations in a row without improvement.
    pub patience: NonZeroUsize,
}

/// A score of the development set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// `exp` of the cross-entropy per target token; smaller is better.
    #[default]
    Perplexity,
    /// BLEU of the translations; larger is better.
    Bleu,
    /// chrF of the translations; larger is better.
    Chrf,
}

/// Which rule turns gradients into new parameters. In TOML the variant is the table's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Adam (Kingma and Ba, 2015); weight decay, if any, is added to the gradient.
    Adam(AdamConfig),
    /// AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    AdamW(AdamWConfig),
    /// Stochastic gradient descent, with momentum if given.
    Sgd(SgdConfig),
}

/// Settings of Adam.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Decay of the running means of gradients and of squared gradients: `β₁`, `β₂`.
    pub betas: [Rate; 2],
    /// `ε`, which keeps the division finite.
    pub eps: Positive,
    /// Rate at which weights are pulled towards zero. Biases and norms are left alone.
    pub weight_decay: NonNegative,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { betas: [rate(0.9), rate(0.999)], eps: positive(1e-8), weight_decay: no_decay() }
    }
}

/// Settings of AdamW: those of Adam, with another default for weight decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the running means of gradients and of squared gradients: `β₁`, `β₂`.
    pub betas: [Rate; 2],
    /// `ε`, which keeps the division finite.
    pub eps: Positive,
    /// Share of a weight that is taken away at each update, times the learning rate. Biases
    /// and norms are left alone.
    pub weight_decay: NonNegative,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        let AdamConfig { betas, eps, .. } = AdamConfig::default();
        Self { betas, eps, weight_decay: NonNegative::try_from(0.01).expect("not negative") }
    }
}

/// Settings of stochastic gradient descent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgdConfig {
    /// Share of the last step's direction that is kept.
    pub momentum: Rate,
    /// Rate at which weights are pulled towards zero. Biases and norms are left alone.
    pub weight_decay: NonNegative,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { momentum: rate(0.0), weight_decay: no_decay() }
    }
}

/// How the learning rate changes while training. In TOML the variant is the table's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Rises for `warmup` updates, then falls with the inverse square root of the step.
    InverseSqrt {
        /// Updates until the highest rate.
        warmup: NonZeroU64,
    },
    /// Stays, then halves again and again (Luong et al., 2015, §4.1).
    Luong {
        /// How long the rate stays: `"5 epochs"`, or a number of updates.
        after: Every,
        /// How long each further rate lasts, in the same unit.
        every: Every,
    },
    /// Rises for `warmup` updates, then falls along half a cosine to zero at `total`.
    Cosine {
        /// Updates until the highest rate.
        #[serde(default)]
        warmup: u64,
        /// The update at which the rate reaches zero.
        total: NonZeroU64,
    },
    /// Shrinks when the development set's loss has not improved for a while.
    Plateau {
        /// What the rate is multiplied by, above 0 and below 1.
        factor: Rate,
        /// Validations without improvement before the rate shrinks.
        patience: NonZeroUsize,
    },
}

fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("defaults are not zero")
}

fn rate(x: f64) -> Rate {
    Rate::try_from(x).expect("default rates lie in [0, 1)")
}

fn positive(x: f64) -> Positive {
    Positive::try_from(x).expect("defaults are positive")
}

fn no_decay() -> NonNegative {
    NonNegative::try_from(0.0).expect("zero is not negative")
}
