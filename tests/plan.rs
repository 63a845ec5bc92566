//! `gpu-assay plan` as a script sees it: keys, exit codes, agreement with `estimate`, and errors for impossible wishes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod program;

use program::{json, refused, run};
use serde_json::Value;

const LORA: &str = "plan train --model llama-3.2-1b --method lora --steps 1000 --max-gpus 8";

#[test]
fn a_plan_of_training_agrees_with_the_estimate_of_its_first_line() {
    let plan = json(&format!("{LORA} --gpu 'H100 SXM' --price 2.5"), 0);
    assert_eq!(plan["verdict"], "yes");
    let offer = &plan["offers"][0];
    assert_eq!((offer["usd_per_gpu_hour"].as_f64(), offer["price_of"].as_str()), (Some(2.5), Some("the price given")));
    assert_eq!(offer["configurations"], plan["configurations"]);
    let lost: u64 = offer["lost"].as_array().unwrap().iter().map(|lost| lost["count"].as_u64().unwrap()).sum();
    assert_eq!(lost + offer["won"].as_u64().unwrap(), plan["configurations"].as_u64().unwrap());
    for first in plan["plans"].as_array().unwrap() {
        let options = first["options"].as_str().unwrap().replace('…', "--model llama-3.2-1b --gpu 'H100 SXM' --price 2.5 --steps 1000");
        let estimate = json(&format!("estimate {options}"), 0);
        let near = |a: &Value, b: &Value| (a.as_f64().unwrap() / b.as_f64().unwrap() - 1.0).abs() < 1e-9;
        assert!(near(&first["step_seconds"], &estimate["time"]["step_seconds"]), "{options}");
        assert!(near(&first["usd"], &estimate["cost"]["usd"]), "{options}");
        assert!(near(&first["low_usd"], &estimate["cost"]["low_usd"]), "{options}");
        assert_eq!(first["bound_by"], estimate["time"]["bound_by"]);
        assert_eq!(first["device_bytes"], estimate["memory"]["device_bytes"]);
        assert_eq!(estimate["fits"]["verdict"], "yes");
    }
}

#[test]
fn a_plan_of_serving_agrees_with_the_estimate_too() {
    let plan = json("plan infer --model llama-3.1-8b --precision bf16,fp8 --gpu 'H100 SXM' --price 2.5 --seq 1024 --output 128", 0);
    for first in plan["plans"].as_array().unwrap() {
        let options = first["options"].as_str().unwrap().replace('…', "--model llama-3.1-8b --gpu 'H100 SXM' --price 2.5");
        let estimate = json(&format!("estimate {options}"), 0);
        let near = |a: &Value, b: &Value| (a.as_f64().unwrap() / b.as_f64().unwrap() - 1.0).abs() < 1e-9;
        assert!(near(&first["seconds"], &estimate["time"]["request_seconds"]), "{options}");
        assert!(near(&first["usd"], &estimate["cost"]["usd_per_million_tokens"]), "{options}");
    }
}

#[test]
fn exit_codes_say_whether_the_goal_is_met() {
    let gpu = "--gpu 'H100 SXM' --price 2.5";
    let step = json(&format!("{LORA} {gpu}"), 0);
    let fastest = &step["plans"][0];
    let (seconds, high) = (fastest["seconds"].as_f64().unwrap(), fastest["high_seconds"].as_f64().unwrap());
    assert_eq!(json(&format!("{LORA} {gpu} --deadline '{} s'", high * 1.01), 0)["verdict"], "yes");
    assert_eq!(json(&format!("{LORA} {gpu} --deadline '{} s'", seconds * 1.01), 5)["verdict"], "unknown");
    let none = json(&format!("{LORA} {gpu} --deadline '1 s'"), 1);
    assert_eq!((none["verdict"].as_str(), none["plans"].as_array().unwrap().len()), (Some("no"), 0));
    assert!(none["offers"][0]["lost"].as_array().unwrap().iter().any(|lost| lost["reason"] == "too_long"));
    let dear = json(&format!("{LORA} {gpu} --budget 0.0001"), 1);
    assert!(dear["offers"][0]["lost"].as_array().unwrap().iter().any(|lost| lost["reason"] == "too_dear"));
    json("plan train --model llama-3.1-70b --method full-mixed --steps 1 --gpu L4 --max-gpus 1 --offload none", 1);
}

#[test]
fn the_list_is_sorted_as_asked() {
    let of = |sort: &str| {
        let plan = json(&format!("{LORA} --sort {sort}"), 0);
        let usd: Vec<f64> = plan["plans"].as_array().unwrap().iter().map(|plan| plan["usd"].as_f64().unwrap()).collect();
        assert!(plan["offers"].as_array().unwrap().iter().all(|offer| offer["from"].as_str().unwrap().len() > 5));
        usd
    };
    let (by_time, by_cost) = (of("time"), of("cost"));
    assert!(by_time.is_sorted_by(|a, b| a > b) && by_cost.is_sorted_by(|a, b| a < b) && !by_time.is_empty());
}

#[test]
fn every_form_of_output_is_printed() {
    for format in ["text", "markdown", "csv"] {
        let output = run(&format!("{LORA} --gpu 'RTX 4090' --format {format}"));
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("RTX 4090") && text.contains("are beaten"), "{text}");
    }
}

#[test]
fn wrong_calls_are_one_line_and_exit_2() {
    refused("plan", "requires a subcommand");
    refused("plan train --model llama-3.2-1b --method lora", "give --steps or --tokens");
    refused("plan train --model llama-3.2-1b --steps 5", "--method");
    refused(&format!("{LORA} --price 3"), "name it with --gpu, once");
    refused(&format!("{LORA} --deadline soon"), "expected a time such as");
    refused(&format!("{LORA} --budget -3"), "expected a --budget above 0 USD but found -3");
    refused(&format!("{LORA} --gpus 4"), "cannot be used with");
    refused(&format!("{LORA} --spot --gpu 'H100 SXM'"), "no spot price of H100 SXM; give one with --price");
    refused(&format!("{LORA} --gpu H20"), "no price by the hour");
    refused(&format!("{LORA} --gpus-per-node 4"), "leave out --gpus-per-node");
    refused(&format!("{LORA} --network 0"), "expected a --network above 0");
    refused(&format!("{LORA} --tp 5 --gpu 'H100 SXM' --price 1"), "");
    refused("plan train --model llama-3.2-1b --method lora --steps 5 --gpu 'H100 SXM' --price 1 --gpus 3 --tp 3", "tensor-parallel");
    refused("plan infer --model llama-3.2-1b --throughput 0", "expected a --throughput above 0");
    refused("plan infer --model llama-3.2-1b --spot", "leave out --spot");
}
