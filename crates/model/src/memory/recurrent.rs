//! What the operations of a recurrent network keep: `crate::rnn`, layer by layer.

use attn::Keys;
use kernels::recurrent::Cell;

use super::{Node, Numbers, TYPICAL_LEN};
use crate::Vocabs;
use crate::config::{Bridge, RnnConfig};

/// The operations in order, and the largest right factor of a product.
pub(super) fn nodes(config: &RnnConfig, vocabs: &Vocabs) -> (Vec<Node>, Numbers) {
    let (dim, embed_dim) = (config.dim.get(), config.embed_dim.get());
    let mut nodes =
        vec![embedding(Numbers::src, vocabs.src * embed_dim, embed_dim, config.tie.ties_source())];
    nodes.extend(dropout(config, Numbers::src(embed_dim)));
    for layer in 0..config.layers.get() {
        encoder_layer(config, layer, &mut nodes);
    }
    // The states once more, sentence after sentence.
    nodes.push(passing(Numbers::src(dim)));
    if let Keys::Projected(projection) = config.attention.key_projection(dim) {
        nodes.push(passing(Numbers::src(projection.dim)).with_parameters(&[projection.dim * dim]));
    }
    nodes.push(embedding(
        Numbers::tgt,
        vocabs.tgt * embed_dim,
        embed_dim,
        config.tie.ties_target(),
    ));
    nodes.extend(dropout(config, Numbers::tgt(embed_dim)));
    nodes.push(decoder(config));
    (nodes, Numbers::tgt(dim.max(embed_dim)))
}

/// An operation that keeps its output only, and whose gradients are of that size, too.
fn passing(output: Numbers) -> Node {
    Node { output, backward: output * 2, ..Node::default() }
}

fn embedding(row: fn(usize) -> Numbers, table: usize, dim: usize, tied: bool) -> Node {
    passing(row(dim)).with_table(table, tied)
}

fn dropout(config: &RnnConfig, output: Numbers) -> Option<Node> {
    (config.dropout.get() > 0.0).then(|| passing(output))
}

/// Sizes of the parameters of a recurrent layer.
fn layer_parameters(cell: Cell, input_dim: usize, dim: usize) -> [usize; 3] {
    let width = cell.gates() * dim;
    [width * input_dim, width * dim, width + dim]
}

/// One layer of the encoder in its directions, and what puts them together.
fn encoder_layer(config: &RnnConfig, layer: usize, nodes: &mut Vec<Node>) {
    let (cell, row) = (Cell::from(config.cell), Numbers::src);
    let (all, dim) = (config.dim.get(), config.direction_dim());
    let input_dim = if layer == 0 { config.embed_dim.get() } else { all };
    let width = cell.gates() * dim;
    if layer > 0 {
        nodes.extend(dropout(config, row(all)));
    }
    let (cells, recurrent_gates) = match cell {
        Cell::Lstm => (1, 0),
        Cell::Gru => (0, width),
    };
    for _ in 0..all / dim {
        let packed = Numbers::fixed(width * dim);
        // The states before each step and the gradients of all states; of inputs and outputs.
        let backward = (2 + cells) * dim + recurrent_gates + input_dim + dim;
        let node = Node {
            output: row(dim + cells * dim / TYPICAL_LEN),
            saved: row(width + 2 * dim),
            forward: packed,
            backward: row(backward) + packed,
            ..Node::default()
        };
        nodes.push(node.with_parameters(&layer_parameters(cell, input_dim, dim)));
    }
    if config.bidirectional {
        nodes.push(passing(row(all)));
    }
    if config.residual && layer > 0 {
        nodes.push(passing(row(all)));
    }
}

/// The whole decoder, with the states that it starts from.
fn decoder(config: &RnnConfig) -> Node {
    let (cell, row) = (Cell::from(config.cell), Numbers::tgt);
    let (dim, embed_dim, layers) = (config.dim.get(), config.embed_dim.get(), config.layers.get());
    let width = cell.gates() * dim;
    let mut parameters = Vec::new();
    for layer in 0..layers {
        let input_dim = if layer == 0 { embed_dim } else { dim };
        parameters.extend(layer_parameters(cell, input_dim, dim));
    }
    if config.input_feeding {
        parameters.push(width * dim);
    }
    let projected: usize = config.attention.query_projections(dim).iter().map(|p| p.dim).sum();
    let mut saved = layers * (width + 2 * dim) + (layers - 1) * dim + dim;
    let (cells, recurrent_gates) = match cell {
        Cell::Lstm => (1, 0),
        Cell::Gru => (0, width),
    };
    // Gradients of the output and of the embedded words, and what flows back through the layers.
    let mut backward = 2 * dim + embed_dim + layers * ((2 + cells) * dim + recurrent_gates);
    if config.input_feeding {
        backward += dim; // the output, moved by a step
    }
    let mut source = 0;
    if config.attends() {
        parameters.extend([projected * dim, 2 * dim * dim]);
        // Projected queries, contexts, attentional states, weights and the places of each row.
        saved += projected + 2 * dim + TYPICAL_LEN + 2;
        backward += projected + 2 * dim + TYPICAL_LEN;
        // Gradients of states and of keys, if they are something else.
        source = dim * 2;
    }
    let initial = match config.bridge {
        Bridge::Zero => 0,
        Bridge::Copy | Bridge::Dense => layers * cell.states() * dim / TYPICAL_LEN,
    };
    let packed = Numbers::fixed(parameters.iter().sum());
    let node = Node {
        output: row(dim + initial),
        saved: row(saved),
        forward: packed,
        backward: row(backward + initial) + Numbers::src(source) + packed,
        ..Node::default()
    };
    node.with_parameters(&parameters)
}
