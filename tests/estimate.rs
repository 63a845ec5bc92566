//! `gpu-assay estimate` as a script sees it: keys, sums, verdicts, exit codes, advice that holds, and errors for every impossible wish.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod program;

use gpu_assay::catalog::Catalog;
use program::{program, refused, run};
use serde_json::Value;
use std::fs;

/// What an estimate says as JSON.
#[track_caller]
fn json(arguments: &str) -> Value {
    program::json(arguments, 0)
}

const PARTS: [&str; 7] =
    ["weights_bytes", "gradients_bytes", "optimizer_bytes", "activations_bytes", "logits_bytes", "kv_cache_bytes", "workspace_bytes"];

/// The keys that scripts rely on are there, and the sums are sums.
#[track_caller]
fn check(document: &Value) {
    let keys: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    for key in ["formula", "model", "parameters", "trainable_parameters", "memory", "fits", "basis"] {
        assert!(keys.contains(&key), "no {key}");
    }
    if let Some(cost) = document.get("cost") {
        let number = |key: &str| cost[key].as_f64().unwrap_or_else(|| panic!("no {key} in {cost}"));
        let usd = number("usd_per_gpu_hour") * number("gpus") * number("hours");
        assert!((number("usd") / usd - 1.0).abs() < 1e-12, "cost is price times time: {cost}");
        assert!(number("low_usd") <= number("usd") && number("usd") <= number("high_usd"));
        assert!(number("usd_per_million_tokens") > 0.0 && number("energy_kwh") > 0.0);
        let sources = document["basis"].as_array().unwrap();
        assert!(sources.iter().any(|source| source["quantity"] == "price"), "{sources:?}");
    }
    if let Some(time) = document.get("time") {
        let seconds = |key: &str| time[key].as_f64().unwrap_or_else(|| panic!("no {key} in {time}"));
        let whole = if time.get("step_seconds").is_some() { seconds("step_seconds") } else { seconds("request_seconds") };
        assert!(seconds("low_seconds") <= whole && whole <= seconds("high_seconds") && whole > 0.0);
        let parts: f64 = time["parts"].as_array().unwrap().iter().map(|part| part["seconds"].as_f64().unwrap()).sum();
        assert!((parts / whole - 1.0).abs() < 1e-9, "parts sum to the whole");
        assert!(["compute", "memory", "communication", "launch", "host", "data"].contains(&time["bound_by"].as_str().unwrap()));
        assert!(seconds("tokens_per_second") > 0.0);
    }
    let memory = |key: &str| document["memory"][key].as_u64().unwrap_or_else(|| panic!("no {key}"));
    let parts: u64 = PARTS.iter().map(|part| memory(part)).sum();
    assert_eq!(parts, memory("allocated_bytes"));
    assert!(memory("allocated_bytes") <= memory("reserved_bytes"));
    assert_eq!(memory("reserved_bytes") + memory("context_bytes"), memory("device_bytes"));
    assert!(memory("low_bytes") <= memory("device_bytes") && memory("device_bytes") <= memory("high_bytes"));
    assert!(["yes", "no", "unknown"].contains(&document["fits"]["verdict"].as_str().unwrap()));
    for source in document["basis"].as_array().unwrap() {
        let words = ["measured here", "measured on the same GPU model", "datasheet", "guide", "assumed"];
        assert!(words.contains(&source["basis"].as_str().unwrap()), "{source}");
        assert!(!source["quantity"].as_str().unwrap().is_empty() && !source["from"].as_str().unwrap().is_empty(), "{source}");
    }
}

#[test]
fn training_has_the_keys_that_scripts_rely_on() {
    let document = json("estimate train --model qwen2-vl-7b --method lora --batch 4 --seq 2048 --lora-rank 64 --gpu 'H100 SXM'");
    check(&document);
    assert_eq!(document["formula"], "exact");
    assert_eq!(document["model"], "Qwen2-VL-7B");
    assert_eq!(document["parameters"], 8_291_375_616u64);
    // Rank 64 on queries, keys, values and outputs of 28 layers: 64 × (2 × (3584 + 3584) + 2 × (3584 + 512)) each.
    assert_eq!(document["trainable_parameters"], 28 * 64 * (2 * (3584 + 3584) + 2 * (3584 + 512)));
    assert_eq!(document["fits"]["gpu"], "H100 SXM");
    let capacity = document["fits"]["capacity_bytes"].as_u64().unwrap();
    assert_eq!(capacity, 81_559 << 20);
    let headroom = document["fits"]["headroom_bytes"].as_i64().unwrap();
    assert_eq!(headroom, capacity as i64 - document["memory"]["device_bytes"].as_i64().unwrap());
    let time = &document["time"];
    let step = time["step_seconds"].as_f64().unwrap();
    assert!((time["tokens_per_second"].as_f64().unwrap() * step / (4.0 * 2048.0) - 1.0).abs() < 1e-9);
    assert!((0.05..0.8).contains(&time["mfu"].as_f64().unwrap()), "{time}");
}

#[test]
fn more_steps_take_as_many_times_as_long() {
    let train = |options: &str| json(&format!("estimate train --model llama-3.2-1b --method lora --gpu H200 {options}"));
    let time = &train("--steps 1000")["time"];
    let hours = time["total_hours"].as_f64().unwrap();
    assert!((hours * 3.6 / time["step_seconds"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    assert!(train("")["time"].get("total_hours").is_none());
}

#[test]
fn late_data_are_what_limits() {
    let train = |options: &str| json(&format!("estimate train --model llama-3.2-1b --method lora --batch 8 --gpu H200 {options}"));
    let time = &train("--load-ms 2000 --num-workers 4")["time"];
    assert_eq!(time["bound_by"], "data");
    assert!((time["step_seconds"].as_f64().unwrap() - 4.0).abs() < 1e-9, "eight sequences of two seconds by four workers");
    assert_eq!(train("--load-ms 1 --num-workers 4")["time"], train("")["time"]);
}

/// A price is the user's, an instance's, or the middle of what is asked for a GPU; without a length there is no cost.
#[test]
fn a_cost_needs_a_price_and_a_length() {
    let train = |options: &str| json(&format!("estimate train --model llama-3.2-1b --method lora --batch 4 {options}"));
    let cost = |options: &str| {
        let document = train(options);
        check(&document);
        document.get("cost").cloned()
    };
    assert!(cost("--gpu 'H100 SXM'").is_none() && cost("--gpu 'H100 SXM' --price 2.5").is_none());
    let given = cost("--gpu 'H100 SXM' --price 2.5 --steps 1000").unwrap();
    assert_eq!((given["usd_per_gpu_hour"].as_f64(), given["gpus"].as_u64()), (Some(2.5), Some(1)));
    let tokens = cost("--gpu 'H100 SXM' --price 2.5 --tokens 8.192M").unwrap();
    assert_eq!(tokens["usd"], given["usd"]);
    assert!((tokens["usd_per_million_tokens"].as_f64().unwrap() * 8.192 / given["usd"].as_f64().unwrap() - 1.0).abs() < 1e-12);
    // An instance is rented whole.
    let whole = cost("--instance aws:p5.48xlarge --gpus 2 --steps 10").unwrap();
    assert_eq!((whole["usd_per_gpu_hour"].as_f64(), whole["gpus"].as_u64()), (Some(55.04 / 8.0), Some(8)));
    let catalog = cost("--gpu 'H100 SXM' --steps 10").unwrap();
    assert!(catalog["low_usd"].as_f64() < catalog["usd"].as_f64());
    let spot = cost("--gpu 'H100 SXM' --price 2.5 --steps 1000 --spot").unwrap();
    let longer = spot["hours"].as_f64().unwrap() / given["hours"].as_f64().unwrap();
    // A quarter of an hour lost and ten minutes of restart, once a day.
    assert!((longer - 1.0 / (1.0 - 25.0 / 1440.0)).abs() < 1e-12, "{longer}");
    let answer = json("estimate infer --model llama-3.2-1b --batch 8 --output 100 --price 2.5 --gpu 'H100 SXM'");
    check(&answer);
    let per_million = 2.5 / 3600.0 / answer["time"]["tokens_per_second"].as_f64().unwrap() * 1e6;
    assert!((answer["cost"]["usd_per_million_tokens"].as_f64().unwrap() / per_million - 1.0).abs() < 1e-12);
}

/// Nothing but what passes between nodes depends on the network.
#[test]
fn a_slower_network_makes_training_over_nodes_slower_and_nothing_else() {
    let step = |options: &str| {
        let document =
            json(&format!("estimate train --model llama-3.1-8b --method full-mixed --parallel zero3 --gpu 'H100 SXM' {options}"));
        document["time"]["step_seconds"].as_f64().unwrap()
    };
    assert!(step("--gpus 16 --network 25") > step("--gpus 16 --network 400"));
    assert_eq!(step("--gpus 8 --network 25"), step("--gpus 8 --network 400"));
    assert_eq!(step("--gpus 16"), step("--gpus 16 --network 400"));
}

#[test]
fn inference_has_the_keys_that_scripts_rely_on() {
    let document = json("estimate infer --model llama-3.1-8b --precision bf16 --batch 2 --seq 4096 --gpu 'H100 SXM'");
    check(&document);
    assert_eq!(document["parameters"], 8_030_261_248u64);
    assert_eq!(document["memory"]["weights_bytes"], 2 * 8_030_261_248u64);
    assert_eq!(document["memory"]["kv_cache_bytes"], 131_072 * 2 * 4096);
    assert_eq!(document["fits"]["verdict"], "yes");
    let time = |key: &str| document["time"][key].as_f64().unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(time("prefill_seconds"), time("request_seconds"), "no answer was asked for");
    assert!(time("decode_seconds_per_token") < time("prefill_seconds"));
    let most = document["time"]["largest_batch"].as_u64().unwrap();
    let fits = |batch: u64| {
        let document = json(&format!("estimate infer --model llama-3.1-8b --precision bf16 --batch {batch} --seq 4096 --gpu 'H100 SXM'"));
        document["fits"]["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(fits(most), "yes");
    assert_ne!(fits(most + 1), "yes");
}

#[test]
fn every_method_optimizer_and_option_is_estimated() {
    for method in ["full-fp32", "full_mixed", "amp-bf16", "full_bf16", "lora", "qlora"] {
        for optimizer in ["adamw", "sgd", "adam-8bit", "adam_8bit", "paged-adam-8bit"] {
            let options = format!("estimate train --model llama-3.2-1b --method {method} --optimizer {optimizer} --gpu H200");
            check(&json(&options));
        }
    }
    for options in [
        "--checkpointing selective --attention eager",
        "--cross-entropy fused",
        "--cross-entropy chunked --lora-targets all-linear",
        "--lora-targets q_proj,v_proj --lora-dropout 0.1",
        "--lora-targets 4",
        "--gpus 8 --parallel zero3 --offload optimizer",
        "--gpus 8 --parallel zero2 --gpus-per-node 4 --grad-accum 4",
        "--gpus 8 --tp 2 --pp 2 --sequence-parallel",
        "--instance aws:p5.48xlarge --parallel fsdp",
    ] {
        let place = if options.contains("--instance") { "" } else { "--gpu H200" };
        check(&json(&format!("estimate train --model llama-3.2-1b --method lora {options} {place}")));
    }
    for options in ["--precision q4_k_m", "--precision nf4", "--precision mxfp4 --kv-precision fp8", "--tp 4 --output 512", "--engine vllm"]
    {
        check(&json(&format!("estimate infer --model llama-3.1-8b {options} --gpu 4090")));
    }
    check(&json("estimate infer --model qwen2-vl-7b --images 2 --image-size 1024x768 --gpu 4090"));
}

#[test]
fn a_model_by_file_and_by_hand_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let estimate = |model: &str| -> Value {
        let output = program(folder.path(), &format!("estimate train {model} --method full-bf16 --gpu H200 --format json"));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    let named = estimate("--model llama-3.1-8b");
    let by_hand = "--layers 32 --hidden 4096 --heads 32 --kv-heads 8 --head-dim 128 --vocab 128256 --ffn 14336";
    for model in ["--config config.json", "--config .", by_hand, &format!("{by_hand} --params-billion 8.03")] {
        assert_eq!(estimate(model)["memory"], named["memory"], "{model}");
    }
}

#[test]
fn require_fit_ends_in_the_verdict() {
    let code = |place: &str| run(&format!("estimate train --model llama-3.1-8b --method full-bf16 --require-fit {place}")).status.code();
    assert_eq!(code("--gpu H200"), Some(0));
    assert_eq!(code("--gpu 4090"), Some(1));
    // Without a GPU to compare with, nothing can be said.
    assert_eq!(code(""), Some(5));
    let without = json("estimate train --model llama-3.1-8b --method full-bf16");
    assert_eq!(without["fits"]["verdict"], "unknown");
    assert!(without["fits"]["gpu"].is_null());
    assert_eq!(run("estimate train --model llama-3.1-8b --method full-bf16 --gpu 4090").status.code(), Some(0), "only asked, not required");
}

/// Whatever the advice, taking it makes the job fit.
#[test]
fn advice_holds_when_it_is_taken() {
    let mut taken = 0;
    for job in [
        "estimate train --model llama-3.1-8b --method lora --batch 8 --seq 4096 --gpu 4090",
        "estimate train --model llama-3.1-8b --method full-mixed --gpu 'H100 SXM'",
        "estimate train --model llama-3.1-70b --method qlora --batch 4 --seq 4096 --gpu 'H100 SXM'",
        "estimate train --model qwen2.5-7b --method full-bf16 --gpus 8 --gpu 'A100 SXM 40GB'",
        "estimate train --model llama-3.2-1b --method lora --gpu L4",
        "estimate infer --model llama-3.1-70b --gpu 'H100 SXM'",
        "estimate infer --model llama-3.1-8b --batch 64 --seq 8192 --gpu 4090",
        "estimate infer --model llama-3.1-8b --gpu L40S",
    ] {
        let shown = String::from_utf8(run(&format!("{job} --format markdown")).stdout).unwrap();
        // The last of a command's equal options would be an error, so those that are replaced are taken out.
        let Some(options) = shown.lines().find_map(|line| {
            let from = line.find("--")?;
            let end = line[from..].find(" it takes").or_else(|| line[from..].find(", which takes"))?;
            Some(line[from..from + end].to_owned())
        }) else {
            panic!("{job}: no advice in\n{shown}");
        };
        let options = options.replace(['`', '\\'], "");
        let mut command = job.to_owned();
        for name in options.split_whitespace().filter(|word| word.starts_with("--")) {
            if let Some(start) = command.find(&format!("{name} ")) {
                let value = command[start..].split_whitespace().nth(1).unwrap();
                command = command.replace(&format!("{name} {value}"), "");
            }
        }
        let fits = run(&format!("{command} {options} --require-fit"));
        assert_eq!(fits.status.code(), Some(0), "{command} {options}: {}", String::from_utf8_lossy(&fits.stderr));
        taken += 1;
    }
    assert_eq!(taken, 8);
}

#[test]
fn the_guides_calculator_answers_with_its_own_keys() {
    let keys = |document: &Value| {
        let mut keys: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let lora = json("estimate train --model qwen2-vl-7b --method lora --batch 4 --seq 2048 --lora-rank 64 --formula guide");
    let mut expected = vec![
        "model",
        "method",
        "params_memory_gb",
        "gradient_memory_gb",
        "optimizer_memory_gb",
        "activation_memory_gb",
        "overhead_gb",
        "total_vram_gb",
        "trainable_params_billion",
        "lora_params_million",
        "recommended_gpus",
    ];
    expected.sort_unstable();
    assert_eq!(keys(&lora), expected);
    assert_eq!((lora["total_vram_gb"].as_f64(), lora["lora_params_million"].as_f64()), (Some(24.17), Some(51.4)));
    expected.retain(|key| *key != "lora_params_million");
    let full = json("estimate train --model QWEN2-VL-7B --method full_mixed --formula guide");
    assert_eq!(keys(&full), expected);
    let infer = json("estimate infer --model qwen2-vl-7b --precision int4 --seq 4096 --formula guide");
    let mut expected = ["model", "precision", "batch_size", "seq_len", "params_memory_gb", "kv_cache_gb", "overhead_gb", "total_vram_gb"];
    expected.sort_unstable();
    assert_eq!(keys(&infer), expected);
    let hand =
        json("estimate infer --params-billion 7.07 --layers 28 --hidden 3584 --heads 28 --kv-heads 4 --precision int4 --formula guide");
    assert_eq!(hand["total_vram_gb"], infer["total_vram_gb"]);
    // A model that the guide does not have is calculated with its true shape.
    let own = json("estimate infer --model llama-3.1-8b --formula guide");
    assert_eq!(own["kv_cache_gb"].as_f64(), Some(0.5));
}

#[test]
fn impossible_wishes_are_one_line_and_exit_2() {
    let train =
        |options: &str, said: &str| refused(&format!("estimate train --model llama-3.1-8b --method lora --gpu H200 {options}"), said);
    train("--batch 9223372036854775807 --seq 9223372036854775807", "batch");
    train("--batch 4294967296 --seq 4294967296", "batch");
    train("--batch 16384 --seq 1048576", "is more than");
    train("--batch 0", "batch");
    train("--batch -1", "--batch");
    train("--batch 1.5", "--batch");
    train("--batch 99999999999999999999", "--batch");
    train("--seq 0", "sequence length");
    train("--tp 3", "32 heads cannot be divided among 3 tensor-parallel GPUs");
    train("--gpus 6 --tp 4", "6 GPUs cannot be divided");
    train("--pp 0", "pipeline-parallel degree");
    train("--pp 64", "32 layers of Llama-3.1-8B cannot make 64 stages");
    train("--ep 2", "it has no experts");
    train("--lora-rank 5000", "rank");
    train("--lora-rank 0", "rank");
    train("--lora-targets q,head", "expected a number, all-linear, or names of q, v, k, o, gate, up, down");
    train("--lora-targets 8", "expected 1 to 7 products of a layer in --lora-targets but found 8");
    train("--lora-dropout 1.5", "expected a --lora-dropout of 0 to 1");
    train("--optimizer lion", "expected one of adamw, sgd, adam-8bit");
    train("--images 2", "--image-size");
    train("--images 1 --image-size 64x64", "image");
    train("--image-size 0x9", "expected WIDTHxHEIGHT");
    train("--load-ms -1", "expected a --load-ms of 0");
    train("--num-workers 2", "--load-ms");
    train("--network 0", "expected a --network above 0");
    train("--network -3", "expected a --network above 0");
    train("--price -1", "expected a --price of 0 to 1000000 USD per GPU and hour but found -1");
    train("--steps 3 --tokens 5", "cannot be used with");
    train("--tokens few", "expected a count such as 2e9 or 300B");
    train("--restart 5min", "add --spot");
    train("--steps 9 --spot", "the catalog has no spot price of that; give one with --price");
    train("--steps 9 --spot --price 1 --interruptions 500", "taken back faster than they do any work");
    train("--instance aws:p5.48xlarge", "cannot be used with");
    train("--layers 4", "more than one model was given");
    refused("estimate", "requires a subcommand");
    refused("estimate train --model llama-3.1-8b --gpu H200", "--method");
    refused("estimate train --method lora --gpu H200", "no model was given");
    refused("estimate train --model llama-3.1-8b --method full --gpu H200", "expected one of full-fp32");
    refused("estimate train --model llama-9 --method lora --gpu H200", "llama-9");
    refused("estimate train --model llama-3.1-8b --method lora --gpu H100", "could be H100 PCIe, H100 SXM, H100 NVL; say which");
    refused("estimate train --model llama-3.1-8b --method lora --instance aws:p9", "no instance of AWS");
    refused("estimate train --layers 32 --hidden 4096 --method lora --gpu H200", "--heads");
    refused("estimate infer --model llama-3.1-8b --tp 5 --gpu H200", "tensor-parallel degree");
    refused("estimate infer --model llama-3.1-8b --precision int5.5 --gpu H200", "precision");
    refused("estimate infer --model llama-3.1-8b --batch 68719476736 --seq 4096 --gpu H200", "give a smaller one");
    refused("estimate infer --config absent.json --gpu H200", "reading absent.json");
    for (options, said) in [
        ("--method full-bf16", r#"the guide's calculator has no method "full_bf16""#),
        ("--method lora --gpus 8", "the guide's calculator knows nothing of --gpus"),
        ("--method lora --checkpointing selective", "knows nothing of selective checkpointing"),
        ("--method lora --steps 3", "knows nothing of --steps"),
        ("--method lora --price 3", "knows nothing of cost"),
        ("--method lora --network 100", "knows nothing of --network"),
        ("--method lora --require-fit", "--require-fit needs an estimate with an interval"),
        ("--method lora --batch 4294967296 --seq 4294967296", "more than 2^63 tokens"),
    ] {
        refused(&format!("estimate train --model qwen2-vl-7b --formula guide {options}"), said);
    }
    refused("estimate infer --model qwen2-vl-7b --formula guide --precision q4_k_m", "it knows fp32, bf16, fp16, int8, int4, fp8");
    refused("estimate infer --model deepseek-v3 --formula guide", "has no latent attention");
    refused("--effort quick estimate infer --model qwen2-vl-7b", "options of measuring");
}

#[test]
fn a_wrong_configuration_is_one_line_and_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let good = r#""model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "vocab_size": 128256"#;
    for config in [
        String::new(),
        "[]".to_owned(),
        format!("{{{good}}}"),
        format!("{{{good}, \"num_hidden_layers\": 0}}"),
        format!("{{{good}, \"num_hidden_layers\": -4}}"),
        format!("{{{good}, \"num_hidden_layers\": 1.5}}"),
        format!("{{{good}, \"num_hidden_layers\": 18446744073709551616}}"),
        format!("{{{good}, \"num_hidden_layers\": 4, \"num_key_value_heads\": 5}}"),
        format!("{{\"a\": {}}}", "[".repeat(100_000)),
        " ".repeat(100_000_000),
    ] {
        fs::write(folder.path().join("config.json"), &config).unwrap();
        let output = program(folder.path(), "estimate infer --config config.json --gpu H200");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let shown: String = config.chars().take(200).collect();
        assert_eq!(output.status.code(), Some(2), "{shown}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{shown}: {stderr}");
    }
}

#[test]
fn a_users_catalog_is_laid_over_the_built_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let own = "[[gpu]]\nname = \"NVIDIA H200\"\nmemory = { label_gb = 10, mib = 10000, type = \"HBM3e\", bandwidth_gbs = 4800 }\n\
               source = \"a partition of ours\"\ndate = \"2026-11-01\"\n";
    let capacity = |arguments: &str| {
        let output = program(folder.path(), &format!("estimate infer --model llama-3.2-1b --gpu 'H200 SXM' --format json {arguments}"));
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        document["fits"]["capacity_bytes"].as_u64().unwrap()
    };
    let built_in = Catalog::embedded().unwrap().gpu("H200 SXM").unwrap().capacity().value.0;
    assert_eq!(capacity(""), built_in);
    fs::write(folder.path().join("own.toml"), own).unwrap();
    assert_eq!(capacity("--catalog own.toml"), 10_000 << 20);
    let usual = folder.path().join(".config/gpu-assay");
    fs::create_dir_all(&usual).unwrap();
    fs::write(usual.join("catalog.toml"), own).unwrap();
    assert_eq!(capacity(""), 10_000 << 20);
    fs::write(usual.join("catalog.toml"), "[[gpu]]\nname = 5\n").unwrap();
    let broken = program(folder.path(), "estimate infer --model llama-3.2-1b --gpu 4090");
    assert_eq!(broken.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&broken.stderr).contains("correct the catalog file"));
}

#[test]
fn text_shows_bars_sums_phases_and_the_verdict_in_both_languages() {
    let shown = |arguments: &str| {
        String::from_utf8(run(&format!("estimate train --model llama-3.1-8b --method lora --gpu H200 {arguments}")).stdout).unwrap()
    };
    let english = shown("");
    for part in [
        "█",
        "= allocated (tensors)",
        "= reserved (allocator)",
        "= device (nvidia-smi)",
        "backward pass",
        "It fits H200 SXM",
        "The largest batch",
    ] {
        assert!(english.contains(part), "no {part} in\n{english}");
    }
    let korean = shown("--lang ko");
    for part in ["█", "= 할당(텐서)", "역전파", "H200 SXM", "들어가며"] {
        assert!(korean.contains(part), "no {part} in\n{korean}");
    }
    let csv = shown("--format csv");
    assert!(csv.starts_with("part,memory [B],memory_basis,"), "{csv}");
}
