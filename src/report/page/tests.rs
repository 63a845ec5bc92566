use super::*;
use crate::record::Settings;

fn settings(probes: &[&str], gpus: &[u32]) -> Settings {
    let probes: Vec<&str> = probes.to_vec();
    let text = serde_json::json!({ "effort": "quick", "probes": probes, "gpus": gpus, "seed": 7 });
    serde_json::from_value(text).unwrap()
}

#[test]
fn the_command_asks_for_the_same_and_for_nothing_else() {
    let command = environment::command;
    assert_eq!(command(&settings(&[], &[0, 1]), 2), "gpu-assay measure --effort quick --seed 7");
    assert_eq!(command(&settings(&["dram", "copy"], &[1]), 2), "gpu-assay measure dram copy --effort quick --gpu 1 --seed 7");
    let hostile = settings(&["; rm -rf ~", "$(id)", "dram\n", "dram"], &[]);
    assert_eq!(command(&hostile, 2), "gpu-assay measure dram --effort quick --seed 7");
}

#[test]
fn every_topic_is_named_in_both_languages_and_once() {
    for (index, topic) in TOPICS.iter().enumerate() {
        assert!(topic.title.ko.chars().any(|c| ('가'..='힣').contains(&c)), "{}", topic.id);
        assert_eq!(topic.about.en.is_empty(), topic.about.ko.is_empty(), "{}", topic.id);
        assert!(TOPICS[..index].iter().all(|other| other.id != topic.id));
    }
}
