//! The data is attested and plausible, and names find what they mean.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::figure::Basis;

fn catalog() -> Catalog {
    Catalog::embedded().unwrap()
}

fn is_date(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok()
}

#[test]
fn every_row_says_where_and_when() {
    let catalog = catalog();
    assert!(catalog.gpus.len() >= 59, "{} GPUs", catalog.gpus.len());
    assert!(catalog.links.len() >= 70, "{} links", catalog.links.len());
    for gpu in &catalog.gpus {
        assert!(gpu.source.len() > 5 && is_date(&gpu.date), "{}", gpu.name);
        assert!(gpu.compute_capability() >= (7, 0), "{}", gpu.name);
    }
    for link in &catalog.links {
        assert!(link.source.len() > 5 && is_date(&link.date), "{}", link.name);
    }
    assert!(catalog.instances.len() >= 170, "{} instances", catalog.instances.len());
    for instance in &catalog.instances {
        assert!(instance.source.len() > 5 && is_date(&instance.date), "{}", instance.name);
        assert!(instance.as_of.len() >= 4 && instance.as_of.starts_with("202"), "{}", instance.as_of);
    }
}

#[test]
fn every_published_measurement_says_where_it_was_read() {
    let catalog = catalog();
    assert!(catalog.achieved.len() >= 276, "{} measurements", catalog.achieved.len());
    for row in &catalog.achieved {
        assert!(row.source.len() > 5 && !row.tool.is_empty() && is_date(&row.date), "{}", row.board);
        if let Some(name) = &row.gpu {
            assert!(catalog.gpus.iter().any(|gpu| gpu.short_name == *name), "{name}");
        }
    }
}

#[test]
fn what_others_reached_is_found_by_model() {
    let catalog = catalog();
    let gpu = |name| catalog.gpu(name).unwrap();
    let rate = |name, dtype| catalog.achieved_matmul(gpu(name), dtype).map(|figure| (figure.value.0 / 1e12, figure.low.0 / 1e12));
    assert_eq!(rate("A100 SXM 80GB", Dtype::Bf16), Some((271.2, 264.53)));
    // The same chip with less memory computes as fast.
    assert_eq!(rate("A100 SXM 40GB", Dtype::Bf16), Some((271.2, 264.53)));
    assert_eq!(rate("T4", Dtype::Bf16), None);
    let copy = catalog.achieved_bandwidth(gpu("A100 SXM 80GB"), Metric::DramCopy).unwrap();
    assert_eq!((copy.value.0, copy.basis), (1732e9, Basis::MeasuredSameModel));
    let reduce = catalog.achieved_collective(gpu("H200 SXM"), Metric::AllReduce, 8).unwrap();
    assert_eq!(reduce.value.0, 482.26e9);
    for row in &catalog.achieved {
        // Above the peak only where a board boosts past its printed clock, and for reductions in the switch.
        let (Some(name), Some(dtype)) = (&row.gpu, [Dtype::Bf16, Dtype::Fp8].into_iter().find(|d| Metric::matmul(*d) == Some(row.metric)))
        else {
            continue;
        };
        if let Some(peak) = gpu(name).matmul_peak(dtype) {
            let best = catalog.achieved_matmul(gpu(name), dtype).unwrap();
            assert!((0.4..1.35).contains(&(best.value / peak.value)), "{name}: {} of {}", best.value, peak.value);
        }
    }
}

#[test]
fn built_in_entries_are_possible() {
    let catalog = catalog();
    for gpu in &catalog.gpus {
        assert_eq!(gpu.wrong(), None, "{}", gpu.name);
    }
    for instance in &catalog.instances {
        assert_eq!(instance.wrong(), None, "{}", instance.name);
        let gpu = catalog.gpu_of(instance).unwrap();
        assert_eq!(gpu.short_name, instance.gpu, "{}", instance.name);
        // From the cheapest ask for an old board to the dearest hour of a new one.
        let per_gpu = instance.price_per_hour().value.0 / f64::from(instance.gpus);
        assert!((0.05..30.0).contains(&per_gpu), "{}: {per_gpu} USD per GPU and hour", instance.name);
    }
}

#[test]
fn the_guides_fourteen_prices_stand_among_todays() {
    let catalog = catalog();
    let guide: Vec<&Instance> = catalog.instances.iter().filter(|instance| instance.is_guide()).collect();
    assert_eq!(guide.len(), 14);
    let p5 = guide.iter().find(|instance| instance.name == "p5.48xlarge").unwrap();
    assert_eq!(p5.price_per_hour().to_string(), "98.32 USD");
    assert_eq!(p5.price_per_hour().basis, Basis::Guide);
    let today = catalog.instance("aws:p5.48xlarge").unwrap();
    assert_eq!((today.price_per_hour().value.0, today.gpu.as_str(), today.gpus), (55.04, "H100 SXM", 8));
    assert_eq!(today.price_per_hour().basis, Basis::Datasheet);
}

#[test]
fn instances_are_found_by_provider_and_type() {
    let catalog = catalog();
    for (spec, name) in [
        ("aws:p5.48xlarge", "p5.48xlarge"),
        ("AWS:P5.48XLARGE", "p5.48xlarge"),
        ("gcp:a3-highgpu-8g", "a3-highgpu-8g"),
        ("azure:Standard_ND96isr_H100_v5", "Standard_ND96isr_H100_v5"),
        ("azure:ND96isr H200", "Standard_ND96isr_H200_v5"),
        ("oci:BM.GPU.H100.8", "BM.GPU.H100.8"),
        ("oracle:bm.gpu.h200.8", "BM.GPU.H200.8"),
        ("lambda labs:gpu_1x_h100_sxm5", "gpu_1x_h100_sxm5"),
        ("vast.ai:rtx 4090", "RTX 4090"),
        ("runpod:H200 SXM (secure)", "H200 SXM (secure)"),
        ("runpod:rtx-5090 community", "RTX 5090 (community)"),
    ] {
        assert_eq!(catalog.instance(spec).map(|found| found.name.as_str()).unwrap_or("none"), name, "{spec}");
    }
    for instance in catalog.instances.iter().filter(|instance| !instance.is_guide() && instance.pricing != Pricing::Spot) {
        let spec = format!("{}:{}", instance.provider, instance.name);
        assert_eq!(catalog.instance(&spec).unwrap(), instance, "{spec}");
    }
}

#[test]
fn an_instance_that_is_not_there_or_not_one_is_an_error_that_says_so() {
    let catalog = catalog();
    let said = |spec: &str| {
        let error = catalog.instance(spec).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    assert_eq!(said("p5.48xlarge"), r#"expected PROVIDER:TYPE such as aws:p5.48xlarge but found "p5.48xlarge""#);
    assert!(said("ibm:gx3").starts_with(r#"no cloud in the catalog is called "ibm"; it has AWS, Azure, CoreWeave, "#));
    assert!(said("aws:p5.47xlarge").starts_with(r#"no instance of AWS in the catalog is called "p5.47xlarge"; the nearest are p5."#));
    assert_eq!(said("runpod:RTX 4090"), r#""runpod:RTX 4090" could be RTX 4090 (secure), RTX 4090 (community); say which"#);
    said("aws:");
    said(":p5.48xlarge");
    said("");
}

#[test]
fn names_are_unique() {
    let catalog = catalog();
    for name in [|gpu: &GpuModel| gpu.name.clone(), |gpu: &GpuModel| gpu.short_name.clone(), |gpu: &GpuModel| gpu.marketing_name.clone()] {
        let distinct: HashSet<String> = catalog.gpus.iter().map(name).collect();
        assert_eq!(distinct.len(), catalog.gpus.len());
    }
    let links: HashSet<&str> = catalog.links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(links.len(), catalog.links.len());
}

/// SMs × boost clock × rate per SM gives the printed tensor peak, and the rate per SM is a power of two, as hardware has it. The data-centre
/// Blackwell boards are left out: their peaks are printed rounded and below what the highest clock would give.
#[test]
fn tensor_peaks_follow_from_clock_and_units() {
    let mut checked = 0;
    for gpu in &catalog().gpus {
        let (Some(sms), Some(clocks)) = (gpu.sm_count, gpu.clocks) else { continue };
        if gpu.compute_capability().0 == 10 {
            continue;
        }
        let peak = gpu.matmul_peak(Dtype::Fp16).unwrap();
        let rate = peak.value.0 / (f64::from(sms) * clocks.boost().0);
        let nearest = rate.log2().round().exp2();
        assert!((rate / nearest - 1.0).abs() < 0.02, "{}: {rate} per SM and clock", gpu.name);
        checked += 1;
    }
    assert!(checked >= 50, "only {checked} rows could be checked");
}

#[test]
fn wider_formats_are_never_faster() {
    for gpu in &catalog().gpus {
        let peak = |dtype| gpu.matmul_peak(dtype).map(|peak| peak.value.0);
        for (wide, narrow) in [(Dtype::Tf32, Dtype::Bf16), (Dtype::Bf16, Dtype::Fp8), (Dtype::Fp8, Dtype::Fp4)] {
            if let (Some(wide), Some(narrow)) = (peak(wide), peak(narrow)) {
                assert!((1.9..=6.1).contains(&(narrow / wide)), "{}: {narrow} beside {wide}", gpu.name);
            }
        }
    }
}

#[test]
fn capacity_is_near_its_label() {
    for gpu in &catalog().gpus {
        let share = gpu.capacity().value.as_gib() / gpu.memory.label_gb;
        assert!((0.92..=1.0).contains(&share), "{}: {share}", gpu.name);
    }
}

#[test]
fn links_lose_at_every_step_and_never_gain() {
    for link in &catalog().links {
        let steps = [link.raw(), link.encoded(), link.practical()];
        for pair in steps.iter().flatten().collect::<Vec<_>>().windows(2) {
            assert!(pair[1].value <= pair[0].value, "{}: {} after {}", link.name, pair[1], pair[0]);
        }
        // Brochures add both directions: of the raw rate, or, for the first two generations of PCIe, of the encoded one.
        if let (Some(raw), Some(encoded), Some(total)) = (link.raw(), link.encoded(), link.marketing_total()) {
            let one_way = total.value / 2.0;
            assert!((one_way / raw.value - 1.0).abs() < 0.01 || (one_way / encoded.value - 1.0).abs() < 0.01, "{}: {one_way}", link.name);
        }
        if let (Some(encoded), Some(measured)) = (link.encoded(), link.measured) {
            assert!(measured.low() <= measured.high() && measured.high() <= encoded.value, "{}", link.name);
        }
    }
}

#[test]
fn pcie_rates_follow_from_the_standard() {
    let catalog = catalog();
    for (generation, giga_transfers, code) in [(3, 8.0, 128.0 / 130.0), (4, 16.0, 128.0 / 130.0), (5, 32.0, 128.0 / 130.0)] {
        for lanes in [1, 2, 4, 8, 16] {
            let expected = giga_transfers * 1e9 / 8.0 * f64::from(lanes) * code;
            let ceiling = catalog.pcie_ceiling(generation, lanes).unwrap();
            assert!((ceiling.value.0 / expected - 1.0).abs() < 1e-3, "gen {generation} x{lanes}: {ceiling}");
            assert_eq!(ceiling.basis, Basis::Datasheet);
        }
    }
    assert!(catalog.pcie_ceiling(4, 3).is_none());
}

#[test]
fn the_guides_seven_rows_stand_beside_the_right_ones() {
    let catalog = catalog();
    let guide: Vec<&str> = catalog.gpus.iter().filter_map(|gpu| gpu.guide.as_ref()).map(|row| row.name.as_str()).collect();
    assert_eq!(guide, ["A100 40GB", "A100 80GB", "RTX 4090", "RTX 6000 Ada", "L40S", "H100 SXM", "H200 SXM"]);
    let rtx = catalog.gpu("RTX 4090").unwrap();
    assert_eq!(rtx.guide.as_ref().unwrap().peak(Dtype::Bf16).unwrap().to_string(), "82.60 TFLOP/s");
    assert_eq!(rtx.matmul_peak(Dtype::Bf16).unwrap().to_string(), "165.2 TFLOP/s");
    assert_eq!(rtx.peak(Dtype::Fp16, Engine::Tensor, Accumulator::Fp16).unwrap().to_string(), "330.3 TFLOP/s");
    assert_eq!(rtx.peak(Dtype::Fp16, Engine::CudaCore, Accumulator::Fp16).unwrap().to_string(), "82.60 TFLOP/s");
}

#[test]
fn the_names_people_use_find_one_model() {
    let catalog = catalog();
    for (name, found) in [
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("H100 SXM", "H100 SXM"),
        ("h100-sxm5", "H100 SXM"),
        ("H100 SXM5 80GB", "H100 SXM"),
        ("NVIDIA H200", "H200 SXM"),
        ("h200", "H200 SXM"),
        ("H200 SXM", "H200 SXM"),
        ("4090", "RTX 4090"),
        ("RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx 4090 d", "RTX 4090 D"),
        ("L4", "L4"),
        ("l40s", "L40S"),
        ("T4", "T4"),
        ("A100-SXM4-80GB", "A100 SXM 80GB"),
        ("A100 80G SXM", "A100 SXM 80GB"),
        ("a100 pcie 40 gb", "A100 PCIe 40GB"),
        ("B200", "B200"),
        ("GH200 96GB", "GH200 96GB"),
    ] {
        assert_eq!(catalog.gpu(name).map(|gpu| gpu.short_name.as_str()).unwrap_or("none"), found, "{name}");
    }
}

#[test]
fn every_name_of_a_model_finds_it() {
    let catalog = catalog();
    for gpu in &catalog.gpus {
        for name in [&gpu.name, &gpu.marketing_name, &gpu.short_name].into_iter().chain(&gpu.aliases) {
            assert_eq!(catalog.gpu(name).unwrap().name, gpu.name, "{name}");
        }
        assert_eq!(catalog.device(&gpu.name, None).unwrap().name, gpu.name);
    }
}

#[test]
fn a_name_that_fits_several_or_none_is_an_error_that_says_so() {
    let catalog = catalog();
    assert_eq!(
        catalog.gpu("A100").unwrap_err().to_string(),
        r#""A100" could be A100 PCIe 40GB, A100 SXM 40GB, A100 PCIe 80GB, A100 SXM 80GB; say which"#
    );
    assert_eq!(catalog.gpu("H100").unwrap_err().to_string(), r#""H100" could be H100 PCIe, H100 SXM, H100 NVL; say which"#);
    assert_eq!(catalog.gpu("a100-80gb").unwrap_err().to_string(), r#""a100-80gb" could be A100 PCIe 80GB, A100 SXM 80GB; say which"#);
    let error = catalog.gpu("H1000").unwrap_err();
    assert!(error.to_string().starts_with(r#"no GPU in the catalog is called "H1000"; the nearest are H100 "#), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(catalog.gpu("").is_err());
}

#[test]
fn devices_are_found_by_pci_id_and_partitions_are_no_model() {
    let catalog = catalog();
    assert_eq!(catalog.device("NVIDIA Graphics Device", Some("10de:2330")).unwrap().short_name, "H100 SXM");
    assert_eq!(catalog.device("NVIDIA Graphics Device", Some("10DE:27B8")).unwrap().short_name, "L4");
    assert!(catalog.device("NVIDIA H100 80GB HBM3 MIG 1g.10gb", Some("10de:2330")).is_none());
    assert!(catalog.device("Radeon", None).is_none());
}

#[test]
fn unknown_fields_are_refused() {
    let text = LINKS.replacen("width = ", "wdith = 3\nwidth = ", 1);
    let error = parse::<LinkFile>(&text, "links.toml").err().unwrap();
    assert!(error.to_string().contains("wdith"), "{error}");
}

#[test]
fn looking_up_never_panics() {
    let catalog = catalog();
    proptest!(|(name in ".{0,40}")| {
        let _ = catalog.gpu(&name);
        let _ = catalog.device(&name, Some(&name));
    });
}

#[test]
fn every_board_belongs_to_one_generation() {
    let catalog = catalog();
    for gpu in &catalog.gpus {
        let of_it = catalog.generations.iter().filter(|generation| generation.has(gpu.compute_capability())).count();
        assert_eq!(of_it, 1, "{} ({:?})", gpu.name, gpu.compute_capability());
    }
    for generation in &catalog.generations {
        assert!(generation.gpus(&catalog).count() > 0, "{} has no board", generation.name);
        assert!(generation.source.len() > 5 && is_date(&generation.date), "{}", generation.name);
        assert!(!generation.brings.en.is_empty() && !generation.brings.ko.is_empty(), "{}", generation.name);
    }
}

#[test]
fn number_formats_appear_with_the_generations_that_brought_them() {
    let catalog = catalog();
    let first = |dtype: Dtype| catalog.generations.iter().find(|g| g.tensor_formats(&catalog).contains(&dtype)).unwrap().name.as_str();
    for (dtype, generation) in [
        (Dtype::Fp16, "Volta"),
        (Dtype::Int8, "Turing"),
        (Dtype::Bf16, "Ampere (GA100)"),
        (Dtype::Fp8, "Ada Lovelace"),
        (Dtype::Fp4, "Blackwell (data centre)"),
    ] {
        assert_eq!(first(dtype), generation, "{dtype}");
    }
    assert_eq!(catalog.generation((9, 0)).unwrap().name, "Hopper");
    assert!(catalog.generation((6, 1)).is_none());
}

#[test]
fn systems_draw_more_than_their_gpus() {
    let catalog = catalog();
    for system in &catalog.systems {
        let model = catalog.gpus.iter().find(|gpu| gpu.short_name == system.gpu).unwrap();
        let gpus = model.tdp().value.0 * f64::from(system.gpus);
        let share = system.max_power().value.0 / gpus;
        assert!((1.0..3.0).contains(&share), "{}: {share} times its GPUs", system.name);
        assert!(system.source.len() > 5 && is_date(&system.date), "{}", system.name);
    }
    assert_eq!(catalog.system("H100 SXM", 8).unwrap().name, "DGX H100");
    assert!(catalog.system("H100 SXM", 4).is_none());
}
