//! The one-to-one links of the greatest total weight.
//!
//! An assignment problem, solved by shortest augmenting paths over reduced costs: Kuhn (1955), “The
//! Hungarian Method for the Assignment Problem”; Jonker and Volgenant (1987), “A Shortest Augmenting
//! Path Algorithm for Dense and Sparse Linear Assignment Problems”.

use super::symmetrize::Link;

/// Links each word to one word at most, so that the sum of the weights is as great as can be.
///
/// `weights`: `[tgt_words, src_words]`, as in [`Alignment::weights`](super::Alignment); what is
/// missing, below zero or no number counts as zero. Words are never linked where the weight is zero.
/// Links are (source, target), in ascending order. Takes `rows² · columns` steps, rows being the
/// words of the shorter sentence.
///
/// ```
/// // The greatest weight is not taken, for the sake of the sum.
/// let links = translate::alignment::best_matching(&[vec![0.9, 0.8], vec![0.7, 0.1]]);
/// assert_eq!(links, [(0, 1), (1, 0)]);
/// ```
pub fn best_matching(weights: &[Vec<f32>]) -> Vec<Link> {
    let tgt_len = weights.len();
    let src_len = weights.iter().map(Vec::len).max().unwrap_or(0);
    let weight = |src: usize, tgt: usize| {
        let weight = weights[tgt].get(src).copied().unwrap_or(0.0);
        if weight > 0.0 { f64::from(weight) } else { 0.0 }
    };
    let pairs = if tgt_len <= src_len {
        let pairs = assign(tgt_len, src_len, |tgt, src| -weight(src, tgt));
        pairs.into_iter().map(|(tgt, src)| (src, tgt)).collect()
    } else {
        assign(src_len, tgt_len, |src, tgt| -weight(src, tgt))
    };
    let mut links: Vec<Link> =
        pairs.into_iter().filter(|&(src, tgt)| weight(src, tgt) > 0.0).collect();
    links.sort_unstable();
    links
}

/// Gives each row a column of its own, at the least total cost: pairs of (row, column). There are at
/// least as many columns as rows.
fn assign(rows: usize, columns: usize, cost: impl Fn(usize, usize) -> f64) -> Vec<(usize, usize)> {
    // Potentials: what is left of a cost after they are taken off is never below zero, and zero
    // where row and column are paired. Column `columns` stands for the row that is looking.
    let mut row_potential = vec![0.0; rows];
    let mut column_potential = vec![0.0; columns + 1];
    let mut row_of: Vec<Option<usize>> = vec![None; columns + 1];
    for row in 0..rows {
        row_of[columns] = Some(row);
        let mut at = columns;
        let mut shortest = vec![f64::INFINITY; columns];
        let mut from = vec![columns; columns];
        let mut visited = vec![false; columns + 1];
        while let Some(current) = row_of[at] {
            visited[at] = true;
            let (mut step, mut next) = (f64::INFINITY, columns);
            for column in (0..columns).filter(|&column| !visited[column]) {
                let reduced =
                    cost(current, column) - row_potential[current] - column_potential[column];
                if reduced < shortest[column] {
                    (shortest[column], from[column]) = (reduced, at);
                }
                if shortest[column] < step {
                    (step, next) = (shortest[column], column);
                }
            }
            for column in 0..=columns {
                if visited[column] {
                    if let Some(row) = row_of[column] {
                        row_potential[row] += step;
                    }
                    column_potential[column] -= step;
                } else {
                    shortest[column] -= step;
                }
            }
            at = next;
        }
        while at != columns {
            row_of[at] = row_of[from[at]];
            at = from[at];
        }
    }
    (0..columns).filter_map(|column| Some((row_of[column]?, column))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_sum_counts_not_the_greatest_weight() {
        let weights = [vec![0.9, 0.8, 0.0], vec![0.8, 0.1, 0.0], vec![0.0, 0.0, 0.3]];
        assert_eq!(best_matching(&weights), [(0, 1), (1, 0), (2, 2)]);
    }

    #[test]
    fn words_without_weight_stay_without_link() {
        assert!(best_matching(&[]).is_empty());
        assert!(best_matching(&[vec![], vec![]]).is_empty());
        assert!(best_matching(&[vec![0.0, f32::NAN], vec![-1.0]]).is_empty());
        assert_eq!(best_matching(&[vec![0.0, 0.5, 0.25]]), [(1, 0)]);
        assert_eq!(best_matching(&[vec![0.25], vec![0.5], vec![0.0]]), [(0, 1)]);
    }

    /// The greatest sum, by trying everything.
    fn greatest(weights: &[Vec<f32>], tgt: usize, taken: &mut Vec<bool>) -> f64 {
        let Some(row) = weights.get(tgt) else { return 0.0 };
        let mut best = greatest(weights, tgt + 1, taken);
        for (src, &weight) in row.iter().enumerate() {
            if !taken[src] {
                taken[src] = true;
                best = best.max(f64::from(weight) + greatest(weights, tgt + 1, taken));
                taken[src] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn no_other_matching_weighs_more(
            weights in (0usize..6, 0usize..6).prop_flat_map(|(tgt_len, src_len)| {
                prop::collection::vec(prop::collection::vec(0f32..1.0, src_len), tgt_len)
            })
        ) {
            let links = best_matching(&weights);
            let sum: f64 = links.iter().map(|&(src, tgt)| f64::from(weights[tgt][src])).sum();
            let src_len = weights.first().map_or(0, Vec::len);
            let best = greatest(&weights, 0, &mut vec![false; src_len]);
            prop_assert!((sum - best).abs() < 1e-12, "{sum} against {best}");
            for side in [|link: &Link| link.0, |link: &Link| link.1] {
                let mut words: Vec<usize> = links.iter().map(side).collect();
                words.sort_unstable();
                prop_assert!(words.is_sorted_by(|one, other| one < other));
            }
        }
    }
}
