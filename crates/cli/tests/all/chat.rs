use crate::support::Place;

const SCRIPT: &str = "[[turns]]\nwhen = { matches = \"name is (?<name>\\\\w+)\" }\ntext = \"Hello {{ match.name }}.\"\n\
    [default]\ntext = \"Turn {{ turn }}: {{ last }}\"\n";

#[test]
fn each_line_of_a_pipe_is_a_message_with_those_before_it() {
    let place = Place::scripted(SCRIPT, "mode = \"chat\"\n");
    let ran = place.ambidex_reads(&["chat", "-q"], "my name is Ada\n\nand now?\n").ends(0);
    assert_eq!(ran.out, "Hello Ada.\nTurn 2: and now?\n");
}

#[test]
fn clear_forgets_and_save_writes() {
    let place = Place::scripted(SCRIPT, "mode = \"chat\"\n");
    let lines = "one\n/clear\ntwo\n/save talk.md\n/nonsense\n/exit\nnever\n";
    let ran = place.ambidex_reads(&["chat", "-q"], lines).ends(0);
    assert_eq!(ran.out, "Turn 1: one\nTurn 1: two\n");
    let ran = ran.says("there is no /nonsense");
    assert!(!ran.err.contains("never"));
    assert_eq!(place.read("talk.md"), "**You**\n\ntwo\n\n**Model**\n\nTurn 1: two\n\n");
}

#[test]
fn a_failed_turn_is_told_and_the_talk_goes_on() {
    let script = "[[turns]]\nwhen = { last = \"bad\" }\ntext = \"x\"\n\
        faults = [{ kind = \"provider_error\", always = true }]\n[default]\ntext = \"fine\"\n";
    let place = Place::scripted(script, "mode = \"chat\"\n");
    let ran = place.ambidex_reads(&["chat", "-q"], "bad\ngood\n").ends(0).says("[provider_error]");
    assert_eq!(ran.out, "fine\n");
}
