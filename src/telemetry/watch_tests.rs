use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// Gives what the test wrote, poll by poll, then the last again; tells the test of every poll and of its own end.
struct Scripted {
    readings: Vec<Reading>,
    counters: Vec<Counters>,
    polled: Sender<()>,
    dropped: Arc<AtomicBool>,
}

impl Readings for Scripted {
    fn poll(&mut self) -> Reading {
        let reading = if self.readings.len() > 1 { self.readings.remove(0) } else { self.readings[0].clone() };
        let _ = self.polled.send(());
        reading
    }

    fn counters(&mut self) -> Counters {
        if self.counters.len() > 1 { self.counters.remove(0) } else { self.counters[0] }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

fn scripted(readings: Vec<Reading>, counters: Vec<Counters>) -> (Scripted, Receiver<()>, Arc<AtomicBool>) {
    let (polled, polls) = channel();
    let dropped = Arc::new(AtomicBool::new(false));
    (Scripted { readings, counters, polled, dropped: Arc::clone(&dropped) }, polls, dropped)
}

fn busy(clock: f64, power: f64, reasons: &[&'static str]) -> Reading {
    Reading {
        sm_clock: Some(Hertz(clock)),
        memory_clock: Some(Hertz(2.6e9)),
        power: Some(Watts(power)),
        temperature: Some(Celsius(power / 10.0)),
        throttle_reasons: reasons.to_vec(),
        idle: false,
        pcie: Some((5, 16)),
    }
}

const QUICK: Duration = Duration::from_millis(1);
const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn a_span_is_what_the_polls_saw() {
    let readings = vec![
        busy(1.9e9, 500.0, &[]),
        busy(1.5e9, 700.0, &["sw_power_cap"]),
        Reading { pcie: Some((4, 8)), ..busy(1.7e9, 600.0, &["sw_power_cap"]) },
    ];
    let mut seen = Seen::default();
    for reading in &readings {
        seen.add(reading);
    }
    let counters = |corrected, uncorrected| Counters {
        corrected_errors: Some(corrected),
        uncorrected_errors: Some(uncorrected),
        pcie_replays: Some(3),
    };
    let span = seen.finish(counters(10, 5), counters(12, 6));
    assert_eq!(
        span,
        Span {
            polls: 3,
            mean_sm_clock: Some(Hertz(1.7e9)),
            least_sm_clock: Some(Hertz(1.5e9)),
            mean_memory_clock: Some(Hertz(2.6e9)),
            mean_power: Some(Watts(600.0)),
            peak_power: Some(Watts(700.0)),
            peak_temperature: Some(Celsius(70.0)),
            throttle_reasons: vec!["sw_power_cap".into()],
            pcie_generation: Some(5),
            pcie_width: Some(16),
            new_corrected_errors: Some(2),
            new_uncorrected_errors: Some(1),
            new_ecc_errors: None,
            new_pcie_replays: Some(0),
        }
    );
}

#[test]
fn an_idle_poll_counts_for_temperature_only() {
    let mut seen = Seen::default();
    seen.add(&Reading { idle: true, ..busy(0.3e9, 800.0, &["sw_power_cap"]) });
    seen.add(&busy(1.9e9, 500.0, &[]));
    let span = seen.finish(Counters::default(), Counters::default());
    assert_eq!((span.polls, span.least_sm_clock, span.peak_power), (1, Some(Hertz(1.9e9)), Some(Watts(500.0))));
    assert_eq!(span.peak_temperature, Some(Celsius(80.0)));
    assert!(span.throttle_reasons.is_empty());
}

#[test]
fn refused_readings_stay_absent() {
    let (readings, polls, _) = scripted(vec![Reading::default()], vec![Counters::default()]);
    let mut watch = Poller::new(readings, QUICK).unwrap();
    watch.start();
    polls.recv().unwrap();
    polls.recv().unwrap();
    let span = watch.stop().unwrap();
    assert!(span.polls >= 1);
    assert_eq!(Span { polls: 0, ..span }, Span::default());
}

#[test]
fn counters_frame_the_span_even_without_a_poll_in_it() {
    let counters = [4, 9].map(|corrected| Counters { corrected_errors: Some(corrected), uncorrected_errors: None, pcie_replays: Some(1) });
    let (readings, _polls, _) = scripted(vec![busy(1.8e9, 400.0, &["hw_slowdown"])], counters.to_vec());
    let mut watch = Poller::new(readings, NEVER).unwrap();
    watch.start();
    let span = watch.stop().unwrap();
    assert_eq!((span.new_corrected_errors, span.new_uncorrected_errors, span.new_pcie_replays), (Some(5), None, Some(0)));
    // Too short for the thread or not: one look is always taken.
    assert_eq!(span.polls, 1);
    assert_eq!(span.throttle_reasons, ["hw_slowdown"]);
}

#[test]
fn a_counter_that_was_cleared_counts_from_nothing() {
    let counters = [Some(100), Some(2), None].map(|corrected_errors| Counters { corrected_errors, ..Counters::default() });
    assert_eq!(Seen::default().finish(counters[0], counters[1]).new_corrected_errors, Some(2));
    assert_eq!(Seen::default().finish(counters[0], counters[2]).new_corrected_errors, None);
    assert_eq!(Seen::default().finish(counters[2], counters[0]).new_corrected_errors, None);
}

#[test]
fn a_watch_that_was_not_started_saw_nothing() {
    let (readings, _polls, _) = scripted(vec![Reading::default()], vec![Counters::default()]);
    let mut watch = Poller::new(readings, NEVER).unwrap();
    assert_eq!(watch.stop(), None);
    watch.start();
    assert!(watch.stop().is_some());
    assert_eq!(watch.stop(), None);
}

#[test]
fn spans_do_not_see_each_other() {
    let (readings, polls, _) = scripted(vec![busy(1.0e9, 100.0, &["hw_slowdown"]), busy(1.9e9, 500.0, &[])], vec![Counters::default()]);
    let mut watch = Poller::new(readings, QUICK).unwrap();
    watch.start();
    polls.recv().unwrap();
    polls.recv().unwrap();
    watch.stop().unwrap();
    watch.start();
    let span = watch.stop().unwrap();
    assert_eq!((span.least_sm_clock, span.throttle_reasons.len()), (Some(Hertz(1.9e9)), 0));
}

#[test]
fn the_thread_ends_with_the_watch() {
    // In each state: asleep, in an open span between polls, after a span.
    for state in 0..3 {
        let (readings, polls, dropped) = scripted(vec![Reading::default()], vec![Counters::default()]);
        let mut watch = Poller::new(readings, NEVER).unwrap();
        if state > 0 {
            watch.start();
            polls.recv().unwrap();
        }
        if state > 1 {
            watch.stop().unwrap();
        }
        drop(watch);
        // The readings go with the last holder: the thread, unless it has ended.
        assert!(dropped.load(Ordering::SeqCst), "state {state}");
    }
}
