//! Why configurations lost.

use crate::units::{Bytes, Seconds, Usd};

/// How many lost for one reason, and the one that came nearest.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally<Q, S> {
    /// How many.
    pub count: u64,
    /// What the nearest lacked or took, how many GPUs it had, and its setting.
    pub nearest: Option<(Q, u64, S)>,
}

impl<Q, S> Default for Tally<Q, S> {
    fn default() -> Self {
        Self { count: 0, nearest: None }
    }
}

impl<Q: PartialOrd + Copy, S: Clone> Tally<Q, S> {
    /// All of both, and the nearer of their nearest.
    fn join(&mut self, other: &Self) {
        self.count += other.count;
        let nearer = |nearest: &(Q, u64, S)| self.nearest.as_ref().is_none_or(|(least, ..)| nearest.0 < *least);
        if other.nearest.as_ref().is_some_and(nearer) {
            self.nearest.clone_from(&other.nearest);
        }
    }

    /// One more that lost by, or took, `amount`.
    pub(super) fn add(&mut self, amount: Q, gpus: u64, setting: &S) {
        self.count += 1;
        if self.nearest.as_ref().is_none_or(|(least, ..)| amount < *least) {
            self.nearest = Some((amount, gpus, setting.clone()));
        }
    }
}

/// What became of an offer's configurations.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses<S> {
    /// All of them.
    pub configurations: u64,
    /// Memory lacks, by the best estimate and even at its lower end.
    pub too_large: Tally<Bytes, S>,
    /// The interval of memory straddles what there is; by how much its upper end lacks.
    pub may_not_fit: Tally<Bytes, S>,
    /// Memory of the hosts lacks.
    pub host: Tally<Bytes, S>,
    /// The throughput takes more GPUs than there may be: how many.
    pub many: Tally<u64, S>,
    /// Interruptions undo more than is done.
    pub endless: Tally<Seconds, S>,
    /// Longer than the limit: the time taken.
    pub late: Tally<Seconds, S>,
    /// Dearer than the limit: the money taken.
    pub dear: Tally<Usd, S>,
    /// Candidates that a winner beats; the cheapest.
    pub beaten: Tally<Usd, S>,
    /// What the cheapest of those took.
    pub beaten_time: Seconds,
    /// The winner that beats it.
    pub beaten_by: Option<usize>,
    /// Winners.
    pub won: u64,
    /// Whether the lower ends of one that may not fit, takes too long or costs too much meet the limits.
    pub perhaps: bool,
}

impl<S: Clone> Losses<S> {
    /// What became of the configurations of both offers.
    pub fn join(&mut self, other: &Self) {
        let cheapest = |losses: &Self| losses.beaten.nearest.as_ref().map_or(f64::INFINITY, |(usd, ..)| usd.0);
        if cheapest(other) < cheapest(self) {
            (self.beaten_time, self.beaten_by) = (other.beaten_time, other.beaten_by);
        }
        self.configurations += other.configurations;
        self.too_large.join(&other.too_large);
        self.may_not_fit.join(&other.may_not_fit);
        self.host.join(&other.host);
        self.many.join(&other.many);
        self.endless.join(&other.endless);
        self.late.join(&other.late);
        self.dear.join(&other.dear);
        self.beaten.join(&other.beaten);
        self.won += other.won;
        self.perhaps |= other.perhaps;
    }

    /// One more candidate that a winner beats.
    pub(super) fn beaten(&mut self, time: Seconds, usd: Usd, gpus: u64, setting: &S) {
        if self.beaten.nearest.as_ref().is_none_or(|(least, ..)| usd < *least) {
            self.beaten_time = time;
        }
        self.beaten.add(usd, gpus, setting);
    }
}

impl<S> Default for Losses<S> {
    fn default() -> Self {
        Self {
            configurations: 0,
            too_large: Tally::default(),
            may_not_fit: Tally::default(),
            host: Tally::default(),
            many: Tally::default(),
            endless: Tally::default(),
            late: Tally::default(),
            dear: Tally::default(),
            beaten: Tally::default(),
            beaten_time: Seconds(0.0),
            beaten_by: None,
            won: 0,
            perhaps: false,
        }
    }
}
