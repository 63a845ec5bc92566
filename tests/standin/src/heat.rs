//! Clocks under load over time: heat, power limits that take a moment, and limits that GPUs share.
//!
//! The law is the simplest that shows what real machines show. **Temperature** goes exponentially toward where it would settle under the
//! load of the moment: `idle_c` without one, `load_c` under products at full clock, and `neighbour_c` more for each other GPU at work, whose
//! warm air it gets; less as the clock falls, because power goes with about its square. Above `throttle_c` the **clock** gives way by
//! `per_c` of itself for every degree, so that it settles where heat and clock agree. In the first moments of load the clock is `burst`
//! times what it is later, until the power limit has been noticed (`settle_s`). GPUs on one **power shelf** slow down together when they
//! would draw more than it gives; power goes with the cube of the clock there.
//!
//! Only matrix products go with the clock: memory and links have their own.

use crate::scenario::Scenario;

/// How fast a GPU counts as loaded, in seconds: about as fast as drivers average.
const NOTICED_S: f64 = 0.05;

/// No clock falls below this share.
const LEAST: f64 = 0.3;

/// One GPU now.
#[derive(Debug, Clone, Copy)]
struct Body {
    celsius: f64,
    /// From 0, idle, to 1, at work.
    load: f64,
    /// From 1, rested, to 0, when the power limit has been noticed.
    fresh: f64,
    /// What the power shelf leaves of the clock.
    shelf: f64,
}

/// All GPUs now.
#[derive(Debug)]
pub(crate) struct Heat(Vec<Body>);

impl Heat {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let rested = |gpu: &crate::scenario::Gpu| Body {
            celsius: gpu.heat.map_or_else(|| f64::from(gpu.temperature_c), |heat| heat.idle_c),
            load: 0.0,
            fresh: 1.0,
            shelf: 1.0,
        };
        Self(scenario.gpus.iter().map(rested).collect())
    }

    /// Lets time pass while the devices in `busy` work.
    pub(crate) fn elapse(&mut self, scenario: &Scenario, seconds: f64, busy: &[usize]) {
        if seconds <= 0.0 || scenario.gpus.iter().all(|gpu| gpu.heat.is_none()) && scenario.power_shelves.is_empty() {
            return;
        }
        let clocks: Vec<f64> = (0..self.0.len()).map(|device| self.clock(scenario, device)).collect();
        let loads: Vec<f64> = self.0.iter().map(|body| body.load).collect();
        let toward = |now: f64, then: f64, constant: f64| then + (now - then) * (-seconds / constant).exp();
        for (device, body) in self.0.iter_mut().enumerate() {
            let works = if busy.contains(&device) { 1.0 } else { 0.0 };
            body.load = toward(body.load, works, NOTICED_S);
            let Some(heat) = scenario.gpus[device].heat else { continue };
            let others: f64 = loads.iter().enumerate().filter(|(other, _)| *other != device).map(|(_, load)| load).sum();
            let rise = (heat.load_c - heat.idle_c) * clocks[device].powi(2) * works + heat.neighbour_c * others;
            body.celsius = toward(body.celsius, heat.idle_c + rise, heat.tau_s);
            body.fresh = toward(body.fresh, 1.0 - works, heat.settle_s);
        }
        for shelf in &scenario.power_shelves {
            let drawn: f64 = shelf.gpus.iter().map(|gpu| self.0[*gpu].load * scenario.gpus[*gpu].power.draw_w).sum();
            let left = (shelf.watts / drawn.max(1e-9)).cbrt().min(1.0);
            shelf.gpus.iter().for_each(|gpu| self.0[*gpu].shelf = left);
        }
    }

    /// A GPU's clock as a multiple of `sm_mhz`.
    pub(crate) fn clock(&self, scenario: &Scenario, device: usize) -> f64 {
        let body = self.0[device];
        let Some(heat) = scenario.gpus[device].heat else { return body.shelf };
        let hot = 1.0 - heat.per_c * (body.celsius - heat.throttle_c).max(0.0);
        ((1.0 + (heat.burst - 1.0) * body.fresh) * hot * body.shelf).max(LEAST)
    }

    /// A GPU's temperature, as whole degrees.
    pub(crate) fn celsius(&self, device: usize) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a temperature")]
        let degrees = self.0[device].celsius.round().clamp(0.0, 200.0) as u32;
        degrees
    }

    /// What a GPU draws, in watts: `draw_w` at work at its settled clock, and never more than its limit.
    pub(crate) fn watts(&self, scenario: &Scenario, device: usize) -> f64 {
        let (gpu, body) = (&scenario.gpus[device], self.0[device]);
        let Some(heat) = gpu.heat else { return gpu.power.draw_w * body.shelf.powi(3) };
        let at_work = (gpu.power.draw_w * self.clock(scenario, device).powi(3)).min(gpu.power.enforced_w);
        heat.idle_w + (at_work - heat.idle_w).max(0.0) * body.load
    }

    /// NVML's bits for what holds the clock down now.
    pub(crate) fn throttle_bits(&self, scenario: &Scenario, device: usize) -> u64 {
        const SW_POWER_CAP: u64 = 0x4;
        const SW_THERMAL: u64 = 0x20;
        const HW_POWER_BRAKE: u64 = 0x80 | 0x8;
        let body = self.0[device];
        let mut bits = if body.shelf < 0.995 { HW_POWER_BRAKE } else { 0 };
        if let Some(heat) = scenario.gpus[device].heat {
            bits |= if body.celsius > heat.throttle_c { SW_THERMAL } else { 0 };
            bits |= if heat.burst > 1.0 && body.load > 0.5 && body.fresh < 0.8 { SW_POWER_CAP } else { 0 };
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Standin;

    fn scenario(more: &str, rest: &str) -> Scenario {
        let text = std::fs::read_to_string(Standin::scenarios().join("h100-8x-nvswitch.toml")).unwrap();
        Scenario::parse(&(text.replace("[[gpu]]\ncount = 4", &format!("[[gpu]]\n{more}\ncount = 4")) + rest)).unwrap()
    }

    const HOT: &str = "heat = { idle_c = 30.0, load_c = 100.0, tau_s = 20.0, throttle_c = 85.0, per_c = 0.02, neighbour_c = 4.0 }";

    fn under_load(scenario: &Scenario, busy: &[usize], seconds: f64) -> Heat {
        let mut heat = Heat::new(scenario);
        (0..(seconds * 100.0) as usize).for_each(|_| heat.elapse(scenario, 0.01, busy));
        heat
    }

    #[test]
    fn heat_begins_to_throttle_after_a_while_and_settles() {
        let scenario = scenario(HOT, "");
        // 30 + 70 (1 − e^(−t/20)) reaches 85 at t = 20 ln(70/15) = 30.8 s.
        let clock = |seconds| under_load(&scenario, &[0], seconds).clock(&scenario, 0);
        assert_eq!((clock(5.0), clock(30.0)), (1.0, 1.0));
        assert!(clock(32.0) < 1.0);
        let (late, later) = (clock(200.0), clock(300.0));
        assert!((late - later).abs() < 1e-3 && (0.85..0.95).contains(&late), "{late} {later}");
        assert_eq!(under_load(&scenario, &[0], 30.0).throttle_bits(&scenario, 0), 0);
        assert_eq!(under_load(&scenario, &[0], 40.0).throttle_bits(&scenario, 0), 0x20);
        // The balance of heat and clock: T = 30 + 70 f², f = 1 − 0.02 (T − 85).
        let heat = under_load(&scenario, &[0], 300.0);
        let celsius = heat.0[0].celsius;
        assert!((celsius - (30.0 + 70.0 * later * later)).abs() < 0.1 && (later - (1.0 - 0.02 * (celsius - 85.0))).abs() < 1e-9);
    }

    #[test]
    fn neighbours_at_work_make_it_warmer() {
        let scenario = scenario(&HOT.replace("load_c = 100.0", "load_c = 80.0"), "");
        assert_eq!(under_load(&scenario, &[3], 200.0).clock(&scenario, 3), 1.0);
        assert!(under_load(&scenario, &[0, 1, 2, 3, 4], 200.0).clock(&scenario, 3) < 0.97);
    }

    #[test]
    fn a_burst_ends_when_the_limit_is_noticed_and_comes_back_after_a_rest() {
        let scenario = scenario(&HOT.replace("}", ", burst = 1.1, settle_s = 2.0 }").replace("100.0", "60.0"), "");
        let mut heat = Heat::new(&scenario);
        assert_eq!(heat.clock(&scenario, 0), 1.1);
        (0..2000).for_each(|_| heat.elapse(&scenario, 0.01, &[0]));
        assert!((heat.clock(&scenario, 0) - 1.0).abs() < 1e-3 && heat.throttle_bits(&scenario, 0) == 0x4);
        heat.elapse(&scenario, 60.0, &[]);
        assert!((heat.clock(&scenario, 0) - 1.1).abs() < 1e-3 && heat.throttle_bits(&scenario, 0) == 0);
    }

    #[test]
    fn a_power_shelf_brakes_all_of_its_gpus_when_they_want_more_than_it_gives() {
        let scenario = scenario("", "\n[[power_shelf]]\ngpus = [0, 1]\nwatts = 1000.0\n");
        assert_eq!(under_load(&scenario, &[0], 2.0).clock(&scenario, 0), 1.0);
        let both = under_load(&scenario, &[0, 1], 2.0);
        let expected = (1000.0 / 1310.0_f64).cbrt();
        assert!((both.clock(&scenario, 0) - expected).abs() < 1e-6 && both.clock(&scenario, 2) == 1.0);
        assert_eq!((both.throttle_bits(&scenario, 1), both.throttle_bits(&scenario, 2)), (0x88, 0));
    }
}
