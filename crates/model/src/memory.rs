//! A forecast of the memory that the loss of a batch and its gradients need.
//!
//! The tape keeps the output of every operation until the loss is dropped, what an operation saved
//! until its gradients are known, and the gradient of every parameter from then on. With the
//! operations of a network in order, `i = 1 … n`,
//!
//! ```text
//! forward  i:  Σ_{j ≤ i} (output_j + saved_j) + while_forward_i
//! backward i:  Σ_j output_j + Σ_{j ≤ i} saved_j + Σ_{j ≥ i} gradients_j + while_backward_i
//! ```
//!
//! numbers are needed at once, and the forecast is the largest of these sums. Each term is a
//! `Numbers`: a part that is fixed (gradients of parameters, weights that are packed for products,
//! the logits of a chunk of tokens), a part for each source token and one for each target token
//! (what flows between operations and what they save). `recurrent.rs` and `transformer.rs` list
//! the operations of each family with what their code keeps. Where an exact count would need the
//! lengths of all sentences, [`TYPICAL_LEN`] stands for them; dropout masks are computed, not kept,
//! and cost nothing.

mod recurrent;
mod transformer;

use std::ops::{Add, Mul};

use kernels::cross_entropy::CHUNK;

use crate::{ModelConfig, Result, Vocabs, specs};

/// Bytes of a number: parameters and activations are `f32`, whatever precision products have.
pub const NUMBER: u64 = 4;

/// Tokens of a sentence where what is kept depends on it: states by sentence, attention weights.
pub const TYPICAL_LEN: usize = 16;

/// How many numbers something takes, by the tokens of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Numbers {
    /// Whatever the batch.
    fixed: usize,
    /// For each source token.
    src: usize,
    /// For each target token.
    tgt: usize,
}

impl Numbers {
    fn fixed(fixed: usize) -> Self {
        Self { fixed, ..Self::default() }
    }

    fn src(src: usize) -> Self {
        Self { src, ..Self::default() }
    }

    fn tgt(tgt: usize) -> Self {
        Self { tgt, ..Self::default() }
    }

    /// In a batch of so many tokens.
    fn of(self, src_tokens: usize, tgt_tokens: usize) -> u64 {
        let part = |each: usize, n: usize| (each as u64).saturating_mul(n as u64);
        (self.fixed as u64)
            .saturating_add(part(self.src, src_tokens))
            .saturating_add(part(self.tgt, tgt_tokens))
    }
}

impl Add for Numbers {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let Self { fixed, src, tgt } = other;
        Self { fixed: self.fixed + fixed, src: self.src + src, tgt: self.tgt + tgt }
    }
}

impl Mul<usize> for Numbers {
    type Output = Self;

    fn mul(self, n: usize) -> Self {
        Self { fixed: self.fixed * n, src: self.src * n, tgt: self.tgt * n }
    }
}

/// What one operation on the tape takes, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Node {
    /// Its output, until the loss is dropped.
    output: Numbers,
    /// What it saves for its backward pass, until that is done.
    saved: Numbers,
    /// What its forward pass takes besides, and gives back.
    forward: Numbers,
    /// What its backward pass takes besides, and gives back: gradients of output and inputs too.
    backward: Numbers,
    /// Gradients of its parameters, which stay; of a table that is used more than once, in the
    /// last node that uses it.
    gradients: usize,
    /// The largest parameter that has a gradient: the tape adds gradients into new memory, three
    /// times that of one for a moment.
    largest: usize,
}

impl Node {
    /// With parameters of these sizes.
    fn with_parameters(self, sizes: &[usize]) -> Self {
        let (gradients, largest) = (sizes.iter().sum(), sizes.iter().copied().max().unwrap_or(0));
        Self { gradients, largest, ..self }
    }

    /// With a table whose gradient, if it is tied, is there already.
    fn with_table(self, size: usize, tied: bool) -> Self {
        let node = self.with_parameters(&[size]);
        Self { gradients: if tied { 0 } else { node.gradients }, ..node }
    }
}

/// How much memory a network needs to learn from a batch.
#[derive(Clone, Debug)]
pub struct Forecast {
    parameters: usize,
    /// Size of a target row.
    dim: usize,
    nodes: Vec<Node>,
    /// The largest right factor of a matrix product, which is packed into memory that stays.
    packed: Numbers,
}

impl Forecast {
    /// For the network that a configuration describes.
    ///
    /// # Errors
    /// If the configuration contradicts itself or the vocabularies.
    pub fn new(config: &ModelConfig, vocabs: &Vocabs) -> Result<Self> {
        let specs = specs(config, vocabs)?;
        let parameters = specs.iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
        let (mut nodes, packed, dim) = match config {
            ModelConfig::Rnn(config) => {
                let (nodes, packed) = recurrent::nodes(config, vocabs);
                (nodes, packed, config.dim.get())
            }
            ModelConfig::Transformer(config) => {
                let (nodes, packed) = transformer::nodes(config, vocabs);
                (nodes, packed, config.dim.get())
            }
        };
        nodes.push(loss(vocabs.tgt, dim));
        Ok(Self { parameters, dim, nodes, packed })
    }

    /// The same with guided attention: the rows behind which its loss stands are there once more.
    #[must_use]
    pub fn guided(self) -> Self {
        let last = self.nodes.len() - 1;
        let mut nodes = self.nodes;
        let rows = Numbers::tgt(self.dim);
        nodes.insert(last, Node { output: rows, backward: rows * 2, ..Node::default() });
        Self { nodes, ..self }
    }

    /// Numbers in the parameters.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Bytes for the loss of a batch with so many tokens and for all its gradients; the parameters
    /// themselves come on top. With R-Drop every token counts twice.
    pub fn batch_bytes(&self, src_tokens: usize, tgt_tokens: usize) -> u64 {
        let of = |numbers: Numbers| numbers.of(src_tokens, tgt_tokens);
        let (mut kept, mut saved, mut peak) = (0, 0, 0);
        for node in &self.nodes {
            kept += of(node.output);
            saved += of(node.saved);
            peak = peak.max(kept + saved + of(node.forward));
        }
        for node in self.nodes.iter().rev() {
            kept += node.gradients as u64;
            peak = peak.max(kept + saved + of(node.backward));
            saved -= of(node.saved);
            peak = peak.max(kept + saved + of(node.output) + 2 * node.largest as u64);
        }
        NUMBER * (peak + of(self.packed))
    }
}

/// Output projection and cross-entropy, whose gradients are saved by the forward pass.
fn loss(vocab: usize, dim: usize) -> Node {
    let weight = vocab * dim;
    let node = Node {
        saved: Numbers::tgt(dim),
        // The gradients, the weight packed for either direction, and the logits of a chunk.
        forward: Numbers::fixed(3 * weight + vocab + CHUNK * vocab),
        ..Node::default()
    };
    node.with_parameters(&[weight, vocab])
}
