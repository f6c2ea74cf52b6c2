//! What the operations of a Transformer keep: `crate::transformer`, sublayer by sublayer.

use super::{Node, Numbers};
use crate::config::{NormPlace, Positions, TransformerConfig};
use crate::{Activation, Vocabs};

/// Numbers that attention keeps of each row and head: largest score and factor.
const ATTENDED: usize = 2;
/// Numbers that a norm keeps of each row.
const STATISTICS: usize = 2;

/// The operations in order, and the largest right factor of a product.
pub(super) fn nodes(config: &TransformerConfig, vocabs: &Vocabs) -> (Vec<Node>, Numbers) {
    let source = Stack { config, row: Numbers::src };
    let target = Stack { config, row: Numbers::tgt };
    let mut nodes = vec![source.embedding(vocabs.src, config.tie.ties_source())];
    for _ in 0..config.encoder_layers.get() {
        nodes.extend([source.self_attention(), source.feed_forward()]);
    }
    nodes.extend(source.close());
    nodes.push(target.embedding(vocabs.tgt, config.tie.ties_target()));
    for _ in 0..config.decoder_layers.get() {
        nodes.extend([target.self_attention(), target.cross_attention(), target.feed_forward()]);
    }
    nodes.extend(target.close());
    let widest = config.ffn_dim.get().max(config.dim.get());
    // One side at a time; the longer one is seldom much longer.
    (nodes, Numbers::tgt(widest))
}

/// One of the two stacks: its rows are source or target tokens.
#[derive(Clone, Copy)]
struct Stack<'a> {
    config: &'a TransformerConfig,
    /// So many numbers for each of its rows.
    row: fn(usize) -> Numbers,
}

impl Stack<'_> {
    fn dim(self) -> usize {
        self.config.dim.get()
    }

    fn embedding(self, vocab: usize, tied: bool) -> Node {
        let (row, dim) = (self.row, self.dim());
        let learned = match self.config.positions {
            Positions::Learned => self.config.max_len.get() * dim,
            Positions::Sinusoidal | Positions::Rotary => 0,
        };
        // Backward: the gradient of the output, and the same with what was dropped.
        let node = Node { output: row(dim), backward: row(2 * dim), ..Node::default() };
        let node = node.with_table(vocab * dim, tied);
        Node { gradients: node.gradients + learned, ..node }
    }

    /// Norm, body, dropout and residual connection around what a body saves, what its backward
    /// pass takes and its parameters.
    fn sublayer(self, saved: Numbers, backward: Numbers, parameters: &[usize]) -> Node {
        let (row, dim) = (self.row, self.dim());
        let kept = match self.config.norm_place {
            NormPlace::Before => STATISTICS,
            NormPlace::After => STATISTICS + dim, // what was normalised
        };
        // The gradient of the output, what the body was given, and the gradient that it is given.
        let around = row(3 * dim);
        let node = Node { output: row(dim), saved: row(kept), ..Node::default() };
        let node = node.with_parameters(parameters);
        match self.config.recompute {
            false => Node { saved: node.saved + saved, backward: backward + around, ..node },
            true => Node { forward: saved, backward: saved + backward + around, ..node },
        }
    }

    fn self_attention(self) -> Node {
        let (row, dim) = (self.row, self.dim());
        // Queries, keys, values and contexts.
        let saved = row(4 * dim + ATTENDED * self.config.heads.get());
        // Gradients of contexts and of queries, keys and values.
        let parameters = [3 * dim * dim, 3 * dim, dim * dim, 3 * dim];
        self.sublayer(saved, row(4 * dim), &parameters)
    }

    fn cross_attention(self) -> Node {
        let (row, dim) = (self.row, self.dim());
        // Queries and contexts; keys and values of the source.
        let saved = row(2 * dim + ATTENDED * self.config.heads.get()) + Numbers::src(2 * dim);
        // Gradients of contexts and queries; those of keys and values, of the source, and what is
        // known of the latter from other layers.
        let backward = row(2 * dim) + Numbers::src(4 * dim);
        let parameters = [dim * dim, 2 * dim * dim, dim * dim, 6 * dim];
        self.sublayer(saved, backward, &parameters)
    }

    fn feed_forward(self) -> Node {
        let (row, dim, ffn_dim) = (self.row, self.dim(), self.config.ffn_dim.get());
        let inner = ffn_dim * if self.config.gated { 2 } else { 1 };
        let plain = self.config.activation == Activation::Relu && !self.config.gated;
        // What the second product was given, and what was before the activation if that is needed.
        let saved = row(ffn_dim + if plain { 0 } else { inner });
        let gradients = ffn_dim + if self.config.gated { inner } else { 0 };
        let parameters = [inner * dim, ffn_dim * dim, inner, 3 * dim];
        self.sublayer(saved, row(gradients + dim), &parameters)
    }

    /// The last norm of a stack, if it has one.
    fn close(self) -> Option<Node> {
        let (row, dim) = (self.row, self.dim());
        let node = Node {
            output: row(dim),
            saved: row(STATISTICS),
            backward: row(2 * dim),
            ..Node::default()
        };
        (self.config.norm_place == NormPlace::Before).then(|| node.with_parameters(&[2 * dim]))
    }
}
