//! Keeping one GPU at work without a pause, and seeing how it goes.
//!
//! Products are enqueued in **chunks**, each with an event at its end, and a few chunks are always under way: when the first of them is done,
//! the GPU is looked at, and another is enqueued behind the last. So the GPU never waits for the host, looks belong to known stretches of the
//! load, and there is never more in the queue than half a second. A **point** is several chunks: its time is that between the events at
//! its ends, which is the device's own. Should the queue run dry all the same, because the host was held up, an event at the beginning of each
//! chunk tells for how long, and the record says so.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::gpu::{Event, Stream};
use crate::measure::{Case, Clock, Glances, GpuClock, Measurement, StopReason, TracePoint, Trial};
use crate::probe::matmul::Product;
use crate::telemetry::Gauge;
use crate::units::Seconds;

/// Chunks under way.
const UNDER_WAY: usize = 3;

/// Chunks of a point, where products are short enough.
const CHUNKS: f64 = 8.0;

/// Points of a load at least: a short one has shorter points.
const LEAST_POINTS: f64 = 20.0;

/// How long a point should take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    point: Seconds,
}

impl Pace {
    /// A second, or what a load of `length` has place for.
    pub(super) fn of(length: Seconds) -> Self {
        Self { point: Seconds((length.0 / LEAST_POINTS).clamp(0.01, 1.0)) }
    }

    /// Products of a chunk and chunks of a point, when a product takes so long.
    fn split(self, product: Seconds) -> (u64, u64) {
        let products = (self.point.0 / product.0.max(1e-9)).round().max(1.0);
        let chunk = (products / CHUNKS).floor().max(1.0);
        (chunk as u64, (products / chunk).round().max(1.0) as u64)
    }
}

/// One GPU at work.
pub(super) struct Feed {
    product: Product,
    stream: Stream,
    gauge: Box<dyn Gauge>,
    gpu: u32,
    /// Products of a chunk, chunks of a point.
    chunk: u64,
    chunks: u64,
    warmup: Seconds,
    /// Where the point began.
    mark: Rc<Event>,
    /// The end of the last chunk that is done.
    end: Rc<Event>,
    /// Beginning and end of each chunk.
    under_way: VecDeque<(Event, Event)>,
    /// Chunks of the point that are done.
    done: u64,
    /// Time of the load until the last chunk that is done, and of that chunk.
    passed: Seconds,
    /// Until where the point before ended.
    before: Seconds,
    last: Seconds,
    glances: Glances,
    samples: Vec<f64>,
    trace: Vec<TracePoint>,
    paused: Seconds,
}

impl Feed {
    /// A feed of `product`, which is timed once to size the chunks.
    ///
    /// # Errors
    /// When the device refuses.
    pub(super) fn new(
        mut product: Product,
        stream: Stream,
        clock: &mut GpuClock,
        gauge: Box<dyn Gauge>,
        gpu: u32,
        pace: Pace,
    ) -> Result<Self> {
        clock.rehearse(&mut product)?;
        // A clock that sleeps needs some products to wake up, and the last of them tell how long one takes.
        let (mut warmup, mut each) = (Seconds(0.0), Seconds(0.0));
        let mut iterations = 2;
        while warmup < pace.point.min(Seconds(0.1)) {
            let batch = clock.time(&mut product, iterations)?;
            if !(batch.is_finite() && batch.0 > 0.0) {
                return Err(Error::measurement("timing a product", "expected a positive time between two events"));
            }
            warmup += batch;
            each = Seconds(batch.0 / iterations as f64);
            iterations = (iterations * 2).min(64);
        }
        let (chunk, chunks) = pace.split(each);
        let mark = Rc::new(stream.gpu().event()?);
        Ok(Self {
            end: Rc::clone(&mark),
            mark,
            product,
            stream,
            gauge,
            gpu,
            chunk,
            chunks,
            warmup,
            under_way: VecDeque::new(),
            done: 0,
            passed: Seconds(0.0),
            before: Seconds(0.0),
            last: each * chunk as f64,
            glances: Glances::default(),
            samples: Vec::new(),
            trace: Vec::new(),
            paused: Seconds(0.0),
        })
    }

    /// Begin the load.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.gauge.start();
        self.stream.record(&self.mark)?;
        while self.under_way.len() < UNDER_WAY {
            self.enqueue()?;
        }
        Ok(())
    }

    fn enqueue(&mut self) -> Result<()> {
        let (begin, end) = (self.stream.gpu().event()?, self.stream.gpu().event()?);
        self.stream.record(&begin)?;
        self.product.enqueue(self.chunk)?;
        self.stream.record(&end)?;
        self.under_way.push_back((begin, end));
        Ok(())
    }

    /// Wait for the next chunk, look, and enqueue another; whether a point came to its end.
    pub(super) fn serve(&mut self) -> Result<bool> {
        let Some((begin, end)) = self.under_way.pop_front() else { return Ok(false) };
        end.synchronize()?;
        self.enqueue()?;
        let reading = self.gauge.look();
        self.glances.add(&reading);
        self.done += 1;
        self.paused += begin.since(&self.end)?;
        self.end = Rc::new(end);
        let within = self.end.since(&self.mark)?;
        self.last = self.before + within - self.passed;
        self.passed = self.before + within;
        if self.done < self.chunks {
            return Ok(false);
        }
        self.samples.push(within.0 / (self.chunk * self.chunks) as f64);
        let limit = self.gauge.power_limit();
        self.trace.push(self.glances.finish(limit));
        self.before = self.passed;
        self.done = 0;
        self.mark = Rc::clone(&self.end);
        Ok(true)
    }

    /// Let what is under way come to its end.
    pub(super) fn end(&mut self) -> Result<()> {
        self.stream.synchronize()
    }

    /// When the next chunk should be done.
    pub(super) fn due(&self) -> Seconds {
        self.passed + self.last
    }

    /// How long the load has run.
    pub(super) const fn passed(&self) -> Seconds {
        self.passed
    }

    pub(super) const fn gpu(&self) -> u32 {
        self.gpu
    }

    /// The last point.
    pub(super) fn last(&self) -> Option<&TracePoint> {
        self.trace.last()
    }

    /// Operations per second in the last point.
    pub(super) fn rate(&self) -> f64 {
        self.samples.last().map_or(0.0, |seconds| self.product.work().compute.0 / seconds)
    }

    pub(super) fn points(&self) -> usize {
        self.samples.len()
    }

    /// For how long the queue was dry.
    pub(super) const fn paused(&self) -> Seconds {
        self.paused
    }

    /// What was measured, once the answer is known to be right.
    ///
    /// # Errors
    /// [`Error::WrongAnswer`]; [`Error::Interrupted`] with fewer than two points.
    pub(super) fn finish(mut self, case: &Case) -> Result<Measurement> {
        let telemetry = self.gauge.stop();
        if let Some(what) = self.product.check()? {
            return Err(Error::WrongAnswer { case: case.to_string(), what });
        }
        if self.samples.len() < 2 {
            return Err(Error::Interrupted);
        }
        Ok(Measurement {
            case: case.clone(),
            work: self.product.work(),
            iterations: self.chunk * self.chunks,
            samples: self.samples,
            rejected: Vec::new(),
            stop: StopReason::OutOfTime,
            warmup: self.warmup,
            telemetry,
            partners: Vec::new(),
            trace: self.trace,
            conditions: std::collections::BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_a_second_or_a_twentieth_of_a_short_load() {
        let pace = |length| Pace::of(Seconds(length)).point.0;
        assert_eq!([pace(300.0), pace(20.0), pace(2.0), pace(0.01)], [1.0, 1.0, 0.1, 0.01]);
    }

    #[test]
    fn chunks_make_up_a_point() {
        let pace = Pace::of(Seconds(60.0));
        assert_eq!(pace.split(Seconds(1.4e-3)), (89, 8), "an H100's square: 712 of 714 products");
        assert_eq!(pace.split(Seconds(0.05)), (2, 10));
        assert_eq!(pace.split(Seconds(0.4)), (1, 3), "two and a half, rounded up");
        assert_eq!(pace.split(Seconds(3.0)), (1, 1));
    }
}
