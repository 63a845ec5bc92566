//! The Pareto set of two numbers, both the better the smaller.

/// What nothing in it beats, by the first number, smallest first; the second falls along it.
#[derive(Debug, Clone, PartialEq)]
pub struct Front<T> {
    members: Vec<(f64, f64, T)>,
}

impl<T> Default for Front<T> {
    fn default() -> Self {
        Self { members: Vec::new() }
    }
}

impl<T> Front<T> {
    /// The member that takes at most `first` and at most `second`, where there is one.
    pub fn beats(&self, first: f64, second: f64) -> Option<usize> {
        let after = self.members.partition_point(|member| member.0 <= first);
        let nearest = after.checked_sub(1)?;
        // Of all that take no more of the first, the last takes least of the second.
        (self.members[nearest].1 <= second).then_some(nearest)
    }

    /// Adds what [`Self::beats`] nothing of; takes out what it beats, and hands that to `lost`.
    pub fn add(&mut self, first: f64, second: f64, what: T, mut lost: impl FnMut(f64, f64, T)) {
        let from = self.members.partition_point(|member| member.0 < first);
        let beaten = self.members[from..].iter().take_while(|member| member.1 >= second).count();
        for (first, second, what) in self.members.splice(from..from + beaten, [(first, second, what)]) {
            lost(first, second, what);
        }
    }

    /// All of it.
    pub fn into_members(self) -> Vec<(f64, f64, T)> {
        self.members
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_what_nothing_beats(points in prop::collection::vec((0u32..30, 0u32..30), 0..60)) {
            let mut front = Front::default();
            for &(a, b) in &points {
                let (a, b) = (f64::from(a), f64::from(b));
                if front.beats(a, b).is_none() {
                    front.add(a, b, (), |_, _, ()| ());
                }
            }
            let members = front.clone().into_members();
            for (at, (a, b, ())) in members.iter().enumerate() {
                for (other, (c, d, ())) in members.iter().enumerate() {
                    prop_assert!(at == other || c > a || d > b, "a member beats another");
                }
            }
            for (a, b) in points {
                let (a, b) = (f64::from(a), f64::from(b));
                let index = front.beats(a, b).unwrap();
                prop_assert!(members[index].0 <= a && members[index].1 <= b);
            }
        }
    }
}
