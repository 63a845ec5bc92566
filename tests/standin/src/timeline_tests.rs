//! Laws of virtual time on a small machine with known rates.

use super::*;

/// A machine whose work says itself what it needs; one-way 50 bytes per ns, two-way 40.
#[derive(Default)]
struct Bench {
    open: bool,
    gave_up: bool,
    begun: Vec<&'static str>,
}

impl World for Bench {
    type Work = (&'static str, Load);

    fn begin(&mut self, work: &Self::Work) -> Load {
        self.begun.push(work.0);
        work.1
    }

    fn rate(&self, resource: Resource, opposed: bool) -> f64 {
        match resource {
            Resource::Device(_) => 1.0,
            _ if opposed => 40.0,
            _ => 50.0,
        }
    }

    fn upstream(&self, resource: Resource) -> Option<Upstream> {
        match resource {
            Resource::Host { device: 1.., up, .. } => Some(Upstream { wire: (0, up), rate: 60.0 }),
            _ => None,
        }
    }

    fn gate_is_open(&self, _flag: usize) -> bool {
        self.open
    }

    fn gate_gave_up(&mut self, _flag: usize) {
        self.gave_up = true;
    }
}

type Line = Timeline<(&'static str, Load)>;

fn copy(up: bool, bytes: f64) -> Step<(&'static str, Load)> {
    let resource = Resource::Host { device: 0, up, pageable: false };
    Step::Work(("copy", Load { resource: Some(resource), amount: bytes, floor_ns: 0.0 }))
}

fn kernel(ns: f64) -> Step<(&'static str, Load)> {
    Step::Work(("kernel", Load { resource: Some(Resource::Device(0)), amount: ns, floor_ns: 0.0 }))
}

fn wait_all(line: &mut Line, bench: &mut Bench) -> Waited {
    let marks: Vec<Mark> = line.streams.keys().filter_map(|&id| line.tail(id)).collect();
    line.wait(bench, &marks, true)
}

#[test]
fn events_bracket_exactly_the_work_between_them() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let stream = line.add_stream();
    let (start, end) = (line.add_event(), line.add_event());
    line.enqueue(stream, Step::Record(start));
    line.enqueue(stream, copy(true, 5000.0));
    line.enqueue(stream, copy(true, 5000.0));
    line.enqueue(stream, Step::Record(end));
    assert_eq!(wait_all(&mut line, &mut bench), Waited::Done);
    assert_eq!(line.event(start).and_then(|event| event.time), Some(0.0));
    assert_eq!(line.event(end).and_then(|event| event.time), Some(200.0));
    assert_eq!(line.host_ns(), 200.0);
}

#[test]
fn opposite_copies_share_only_while_they_overlap() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let (up, down) = (line.add_stream(), line.add_stream());
    line.enqueue(up, copy(true, 4000.0));
    line.enqueue(down, copy(false, 9000.0));
    let end = line.add_event();
    line.enqueue(down, Step::Record(end));
    wait_all(&mut line, &mut bench);
    // 100 ns together at 40 each, then the remaining 5000 bytes alone at 50.
    assert_eq!(line.event(end).and_then(|event| event.time), Some(200.0));
}

#[test]
fn devices_behind_one_wire_share_it_only_while_they_overlap() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let ends: Vec<u64> = [(0, true, 5000.0), (1, true, 3000.0), (2, true, 6000.0), (2, false, 4000.0)]
        .map(|(device, up, amount)| {
            let stream = line.add_stream();
            let load = Load { resource: Some(Resource::Host { device, up, pageable: false }), amount, floor_ns: 0.0 };
            line.enqueue(stream, Step::Work(("copy", load)));
            let end = line.add_event();
            line.enqueue(stream, Step::Record(end));
            end
        })
        .into();
    wait_all(&mut line, &mut bench);
    let times: Vec<f64> = ends.iter().filter_map(|end| line.event(*end)?.time).collect();
    // Devices 1 and 2 get 30 each of 60 until the first is done; the other has 3000 bytes left then, and its link of 50 for itself.
    assert_eq!(times, [100.0, 100.0, 160.0, 100.0]);
}

#[test]
fn who_wants_little_of_a_wire_gets_it_and_the_rest_is_shared_evenly() {
    assert_eq!(fair_share(vec![25.0, 25.0], 38.0), 19.0);
    assert_eq!(fair_share(vec![25.0, 12.0, 25.0], 42.0), 15.0);
    assert_eq!(fair_share(vec![25.0, 12.0], 38.0), f64::INFINITY);
    assert_eq!(fair_share(vec![25.0], 20.0), 20.0);
}

#[test]
fn kernels_on_one_device_share_it_and_copies_do_not_disturb_them() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let streams = [line.add_stream(), line.add_stream(), line.add_stream()];
    line.enqueue(streams[0], kernel(100.0));
    line.enqueue(streams[1], kernel(100.0));
    line.enqueue(streams[2], copy(true, 1000.0));
    wait_all(&mut line, &mut bench);
    assert_eq!(line.host_ns(), 200.0);
}

#[test]
fn a_gate_holds_until_the_host_opens_it_and_enqueue_time_is_never_measured() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let stream = line.add_stream();
    let (start, end) = (line.add_event(), line.add_event());
    line.enqueue(stream, Step::Gate { open: 8, timeout_ns: 1e9, timed_out: 16 });
    line.enqueue(stream, Step::Record(start));
    for _ in 0..10 {
        line.pass(700.0);
        line.enqueue(stream, kernel(100.0));
    }
    line.enqueue(stream, Step::Record(end));
    let tail = line.tail(stream).into_iter().collect::<Vec<_>>();
    assert_eq!(line.wait(&mut bench, &tail, false), Waited::Blocked);
    bench.open = true;
    assert_eq!(line.wait(&mut bench, &tail, false), Waited::Done);
    let time = |event| line.event(event).and_then(|event| event.time);
    assert_eq!(time(start), Some(7000.0));
    assert_eq!(time(end), Some(8000.0));
    assert!(!bench.gave_up);
}

#[test]
fn without_a_gate_a_slow_host_starves_the_stream() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let stream = line.add_stream();
    for _ in 0..10 {
        line.pass(700.0);
        line.enqueue(stream, kernel(100.0));
    }
    wait_all(&mut line, &mut bench);
    assert_eq!(line.host_ns(), 7100.0);
}

#[test]
fn a_closed_gate_gives_up_after_its_watchdog() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let stream = line.add_stream();
    line.enqueue(stream, Step::Gate { open: 8, timeout_ns: 5000.0, timed_out: 16 });
    line.enqueue(stream, kernel(100.0));
    assert_eq!(wait_all(&mut line, &mut bench), Waited::Done);
    assert!(bench.gave_up);
    assert_eq!(line.host_ns(), 5100.0);
}

#[test]
fn waiting_on_an_event_joins_streams() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let (first, second) = (line.add_stream(), line.add_stream());
    let event = line.add_event();
    line.enqueue(first, Step::Work(("slow", Load { resource: None, amount: 0.0, floor_ns: 300.0 })));
    let mark = line.enqueue(first, Step::Record(event));
    line.enqueue(second, Step::Wait(mark.unwrap()));
    line.enqueue(second, Step::Work(("after", Load { resource: None, amount: 0.0, floor_ns: 50.0 })));
    let tail = line.tail(second).unwrap();
    line.wait(&mut bench, &[tail], true);
    assert_eq!(line.host_ns(), 350.0);
    assert_eq!(bench.begun, ["slow", "after"]);
}

#[test]
fn waiting_for_one_stream_leaves_the_other_running() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let (short, long) = (line.add_stream(), line.add_stream());
    line.enqueue(short, copy(true, 5000.0));
    line.enqueue(long, kernel(1000.0));
    let tail = line.tail(short).unwrap();
    line.wait(&mut bench, &[tail], true);
    assert_eq!(line.host_ns(), 100.0);
    assert!(line.busy());
    // A copy the other way, enqueued now, overlaps nothing but the kernel.
    line.enqueue(short, copy(false, 5000.0));
    let tail = line.tail(short).unwrap();
    line.wait(&mut bench, &[tail], true);
    assert_eq!(line.host_ns(), 200.0);
    wait_all(&mut line, &mut bench);
    assert_eq!(line.host_ns(), 1000.0);
}

#[test]
fn a_floor_keeps_small_copies_from_being_free() {
    let (mut line, mut bench) = (Line::default(), Bench::default());
    let stream = line.add_stream();
    let resource = Some(Resource::Host { device: 0, up: true, pageable: false });
    line.enqueue(stream, Step::Work(("tiny", Load { resource, amount: 50.0, floor_ns: 900.0 })));
    line.enqueue(stream, Step::Work(("large", Load { resource, amount: 100_000.0, floor_ns: 900.0 })));
    wait_all(&mut line, &mut bench);
    assert_eq!(line.host_ns(), 2900.0);
}
