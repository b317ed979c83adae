//! Rejects duplicate questions: the same in normal form ([`super::tokenize`]), or nearly the same, by the Jaccard similarity of
//! their word shingles. Candidates are found by MinHash and LSH and then compared exactly, so that no question is rejected by
//! an estimate. Of several duplicates, the lowest id is kept. Pure.
//!
//! Numbers count as words. Two word problems that differ in one number of many words are near duplicates: the second
//! teaches little. Two short ones whose numbers are their substance ("solve 3x + 5 = 11", "solve 2x - 7 = 9") are not, and a
//! template that is filled with other numbers throughout is kept as well: varied numbers are practice, and a reader of the
//! dataset can still group by template, but cannot restore rejected questions.

use std::collections::HashMap;

use scalequest_crds::v1alpha1::RejectReason;
use sha2::{Digest, Sha256};

use super::Decision;
use super::tokenize::tokens;

/// Tokens in a shingle.
const SHINGLE: usize = 3;

/// Hash functions in a signature.
const SIGNATURE: usize = 128;

/// With this probability at least, a pair at the threshold becomes a candidate.
const RECALL: f64 = 0.999;

/// What is compared of a question. Computing it is the costly part and independent of all other questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// SHA-256 of the tokens, joined by spaces.
    exact: [u8; 32],
    /// Hashes of the shingles, sorted, each once.
    shingles: Box<[u64]>,
}

impl Fingerprint {
    /// Computes the fingerprint of `question`.
    pub fn of(question: &str) -> Self {
        let tokens = tokens(question);
        let exact = Sha256::digest(tokens.join(" ")).into();
        let mut shingles: Vec<u64> = match tokens.len() {
            0 => Vec::new(),
            1..SHINGLE => vec![hash_shingle(&tokens)],
            _ => tokens.windows(SHINGLE).map(hash_shingle).collect(),
        };
        shingles.sort_unstable();
        shingles.dedup();
        Fingerprint {
            exact,
            shingles: shingles.into(),
        }
    }

    /// Returns the Jaccard similarity of the two sets of shingles, in 0..=1; that of two empty ones is 1.
    pub fn similarity(&self, other: &Fingerprint) -> f64 {
        let (mut a, mut b, mut shared) = (
            self.shingles.iter().peekable(),
            other.shingles.iter().peekable(),
            0,
        );
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            match x.cmp(y) {
                std::cmp::Ordering::Less => drop(a.next()),
                std::cmp::Ordering::Greater => drop(b.next()),
                std::cmp::Ordering::Equal => {
                    shared += 1;
                    a.next();
                    b.next();
                }
            }
        }
        let union = self.shingles.len() + other.shingles.len() - shared;
        if union == 0 {
            1.0
        } else {
            shared as f64 / union as f64
        }
    }

    /// Returns the keys of the LSH bands: questions that share one are candidates.
    fn bands(&self, rows: usize) -> Vec<u64> {
        let signature: Vec<u64> = (0..SIGNATURE as u64)
            .map(|function| {
                let seed = mix(function + 1);
                self.shingles
                    .iter()
                    .map(|shingle| mix(shingle ^ seed))
                    .min()
                    .unwrap_or(u64::MAX)
            })
            .collect();
        signature
            .chunks_exact(rows)
            .map(|band| band.iter().fold(0, |key, value| mix(key ^ value)))
            .collect()
    }
}

/// Rejects duplicates of the questions that were kept so far.
#[derive(Debug)]
pub struct DuplicateFilter {
    similarity: f64,
    rows: usize,
    exact: HashMap<[u8; 32], i64>,
    /// Band number and key, with the indices into `kept` of the questions that have it.
    candidates: HashMap<(u16, u64), Vec<u32>>,
    kept: Vec<(i64, Fingerprint)>,
}

impl DuplicateFilter {
    /// Creates the filter for near duplicates of at least `similarity` (in 0..=1).
    pub fn new(similarity: f64) -> Self {
        DuplicateFilter {
            similarity,
            rows: band_rows(similarity),
            exact: HashMap::new(),
            candidates: HashMap::new(),
            kept: Vec::new(),
        }
    }

    /// Adds a question that an earlier wave has kept.
    pub fn add_seen(&mut self, id: i64, fingerprint: Fingerprint) {
        let bands = fingerprint.bands(self.rows);
        self.insert(id, fingerprint, bands);
    }

    /// Rejects the question if it duplicates a kept one; otherwise keeps it, so that later ones are compared with it. Questions
    /// must come in ascending order of `id`. Only kept questions count: the same ones are kept in one wave or in several.
    pub fn evaluate(&mut self, id: i64, fingerprint: Fingerprint) -> Decision {
        if let Some(first) = self.exact.get(&fingerprint.exact) {
            return Decision::reject(
                RejectReason::ExactDuplicate,
                format!("the same as question {first}"),
            );
        }
        let bands = fingerprint.bands(self.rows);
        match self.nearest(&fingerprint, &bands) {
            Some((similarity, first)) if similarity >= self.similarity => {
                let detail = format!("similarity {similarity:.3} to question {first}");
                Decision::reject(RejectReason::NearDuplicate, detail)
            }
            _ => {
                self.insert(id, fingerprint, bands);
                Decision::Keep
            }
        }
    }

    /// Returns the most similar candidate; of equals, the one with the lowest id.
    fn nearest(&self, fingerprint: &Fingerprint, bands: &[u64]) -> Option<(f64, i64)> {
        let mut indices: Vec<u32> = (0..)
            .zip(bands)
            .filter_map(|(band, key)| self.candidates.get(&(band, *key)))
            .flatten()
            .copied()
            .collect();
        indices.sort_unstable();
        indices.dedup();
        let compare = |index: u32| {
            let (id, other) = &self.kept[index as usize];
            (fingerprint.similarity(other), *id)
        };
        indices
            .into_iter()
            .map(compare)
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
    }

    fn insert(&mut self, id: i64, fingerprint: Fingerprint, bands: Vec<u64>) {
        let index = self.kept.len() as u32;
        self.exact.entry(fingerprint.exact).or_insert(id);
        for (band, key) in (0..).zip(bands) {
            self.candidates.entry((band, key)).or_default().push(index);
        }
        self.kept.push((id, fingerprint));
    }
}

/// Returns the rows of a band: the most with which a pair at the threshold is a candidate with probability [`RECALL`]. A pair of
/// similarity s shares one of b bands of r rows with probability 1 - (1 - s^r)^b.
fn band_rows(similarity: f64) -> usize {
    let recall = |rows: usize| {
        let bands = (SIGNATURE / rows) as f64;
        1.0 - (1.0 - similarity.powi(rows as i32)).powf(bands)
    };
    (1..=16)
        .rev()
        .find(|rows| recall(*rows) >= RECALL)
        .unwrap_or(1)
}

/// Computes FNV-1a (64 bit) over the tokens, each ended by a zero byte, then mixes it. Fixed: published results depend on it.
fn hash_shingle(tokens: &[String]) -> u64 {
    let bytes = tokens.iter().flat_map(|token| token.bytes().chain([0]));
    mix(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `x`.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
