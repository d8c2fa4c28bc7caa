#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use super::files_tests::{model, numbered};
use super::*;

/// All that a net allows of at most so many activities.
fn language(net: &Net, names: &Names, longest: usize) -> BTreeSet<String> {
    let mut states = States::new(net, 100_000);
    let (mut open, mut all) = (vec![(0, Vec::new())], BTreeSet::from([(0, Vec::new())]));
    let mut whole = BTreeSet::new();
    while let Some((state, way)) = open.pop() {
        if states.is_last(state) {
            let named: Vec<&str> = way.iter().map(|at| names.text(*at)).collect();
            whole.insert(named.join(" "));
        }
        for (transition, to) in states.next(state).unwrap().to_vec() {
            let mut way = way.clone();
            way.extend(net.transitions[transition as usize].activity);
            if way.len() <= longest && all.insert((to, way.clone())) {
                open.push((to, way));
            }
        }
    }
    whole
}

#[test]
fn a_tree_that_is_written_as_bpmn_is_read_as_the_same_language() {
    let (tree, names) = model();
    let mut read = names.clone();
    let net = from_file(&to_bpmn(&tree, &names), &mut read).unwrap();
    assert_eq!(read.len(), names.len());
    let expected = language(&Net::of(&tree), &names, 7);
    assert!(expected.len() > 10, "{expected:?}");
    assert_eq!(language(&net, &names, 7), expected);
    let nothing = from_file(&to_bpmn(&Tree::Silent, &names), &mut read).unwrap();
    assert_eq!(language(&nothing, &names, 7), BTreeSet::from([String::new()]));
    // Discovered of made logs: as the net that is written beside.
    for seed in 0..30 {
        let mut noise = crate::Noise::new(seed);
        let mut builder = Builder::default();
        for case in 0..6 {
            for at in 0..1 + (noise.uniform() * 6.0) as i64 {
                let activity = ["a", "b", "c", "d"][(noise.uniform() * 4.0) as usize];
                builder.push(&case.to_string(), activity, None, None, at);
            }
        }
        let log = builder.finish();
        let tree = discover(&log).normal();
        let names = &log.activities;
        let net = from_file(&to_bpmn(&tree, names), &mut names.clone()).unwrap();
        let expected = language(&Net::of(&tree), names, 4);
        assert!(!expected.is_empty());
        assert_eq!(language(&net, names, 4), expected, "{tree:?}");
    }
}

/// A diagram of `inside`, in which `a>b` is a flow.
fn diagram(inside: &str, flows: &str) -> String {
    let flows = text_of_flows(flows);
    format!(
        "<b:definitions xmlns:b=\"http://www.omg.org/spec/BPMN/20100524/MODEL\"><b:collaboration/><b:process id=\"empty\"/>\
         <b:process id=\"main\"><b:laneSet/>{inside}{flows}</b:process></b:definitions>"
    )
}

fn text_of_flows(flows: &str) -> String {
    let one = |flow: &str| {
        let (from, to) = flow.split_once('>').unwrap();
        format!("<b:sequenceFlow id=\"{flow}\" sourceRef=\"{from}\" targetRef=\"{to}\"/>")
    };
    flows.split_whitespace().map(one).collect()
}

/// Elements `<b:KIND id="NAME" name="NAME"/>` of `KIND NAME`, apart by commas.
fn elements(of: &str) -> String {
    let one = |of: &str| {
        let (kind, name) = of.trim().split_once(' ').unwrap();
        format!("<b:{kind} id=\"{name}\" name=\"{name}\"/>")
    };
    of.split(',').map(one).collect()
}

fn ways(inside: &str, flows: &str) -> Vec<String> {
    ways_of(&diagram(inside, flows))
}

fn ways_of(text: &str) -> Vec<String> {
    let mut names = numbered(&["rang", "began", "over"]);
    let net = from_file(text, &mut names).unwrap();
    assert!(
        from_file(&to_pnml(&net, &names), &mut names)
            .is_ok_and(|same| same.transitions.len() == net.transitions.len())
    );
    assert_eq!(net.can_end(1_000), Some(true));
    language(&net, &names, 4).into_iter().collect()
}

#[test]
fn each_element_of_bpmn_means_what_its_standard_says() {
    let ends = "startEvent s, endEvent e, ";
    // Tasks of all kinds, one behind the other.
    let tasks = [ends, "task a, userTask b, serviceTask c, callActivity d"].concat();
    assert_eq!(ways(&elements(&tasks), "s>a a>b b>c c>d d>e"), ["a b c d"]);
    // One of several, also behind one another and at several ends.
    let choice =
        [ends, "exclusiveGateway x, eventBasedGateway y, task a, task b, task c, endEvent f"];
    assert_eq!(
        ways(&elements(&choice.concat()), "s>x x>a x>y y>b y>c a>e b>e c>f"),
        ["a", "b", "c"]
    );
    // An end of all is one where nothing is side by side, by an error, too.
    for all in ["terminate", "error"] {
        let over = format!("<b:endEvent id=\"f\"><b:{all}EventDefinition/></b:endEvent>");
        let over = elements(&[ends, "exclusiveGateway x, task a, task b"].concat()) + &over;
        assert_eq!(ways(&over, "s>x x>a x>b a>e b>f"), ["a", "b"]);
    }
    // Two ways of a choice to the same are one; two starts are a choice.
    let same = [ends, "exclusiveGateway x, task a, startEvent s2, task b"].concat();
    assert_eq!(ways(&elements(&same), "s>x x>a x>a a>e s2>b b>e"), ["a", "b"]);
    // Conditions at a gateway say when it takes a way, and an inclusive one that neither joins nor parts is none.
    let gates =
        elements(&[ends, "exclusiveGateway x, inclusiveGateway o, task a, task b"].concat());
    let flows = "s>x x>a x>b a>o o>e b>e";
    let with_condition = diagram(&gates, flows)
        .replace("targetRef=\"b\"/>", "targetRef=\"b\"><b:conditionExpression/></b:sequenceFlow>");
    assert_eq!(ways_of(&with_condition), ["a", "b"]);
    // What joins at a choice does not go back to the ways of another.
    let loops = [ends, "exclusiveGateway x, exclusiveGateway y, task a, task b, task c"].concat();
    assert_eq!(ways(&elements(&loops), "s>x x>y y>a y>b a>e b>c c>y"), ["a", "b c a"]);
    // Side by side, by gateways and by the flows of a task.
    let both = [ends, "parallelGateway x, parallelGateway y, task a, task b"].concat();
    assert_eq!(ways(&elements(&both), "s>x x>a x>b a>y b>y y>e"), ["a b", "b a"]);
    let task = [ends, "parallelGateway y, task a, task b, task c"].concat();
    assert_eq!(ways(&elements(&task), "s>a a>b a>c b>y c>y y>e"), ["a b c", "a c b"]);
    // A task that several ways lead to is done once for each of them.
    let merged = [ends, "exclusiveGateway x, task a, task b, task c"].concat();
    assert_eq!(ways(&elements(&merged), "s>x x>a x>b a>c b>c c>e"), ["a c", "b c"]);
    // Events are seen where the log has them, also where a task has their name, and tasks without a name never.
    let events =
        [ends, "intermediateCatchEvent rang, intermediateThrowEvent sent, task a"].concat();
    let events = elements(&events) + "<b:task id=\"t\"/><b:task id=\"sent2\" name=\"sent\"/>";
    assert_eq!(ways(&events, "s>rang rang>sent2 sent2>sent sent>t t>a a>e"), ["rang sent a"]);
    let events =
        elements("startEvent began, endEvent over, endEvent e, task a, boundaryEvent rang")
            .replace("id=\"rang\"", "id=\"rang\" attachedToRef=\"a\" cancelActivity=\"true\"");
    assert_eq!(ways(&events, "began>a a>e rang>over"), ["began a", "began rang over"]);
    // A task that is done again, before or behind the question, also behind a choice; and one that an event ends.
    let again = |attributes: &str| {
        let marker = format!("><b:standardLoopCharacteristics {attributes}/></b:task>");
        let all = elements(&[ends, "exclusiveGateway x, task b, task a"].concat());
        all.strip_suffix("/>").unwrap().to_owned() + &marker
    };
    let flows = "s>x x>a x>b a>e b>e";
    assert_eq!(ways(&again(""), flows), ["a", "a a", "a a a", "a a a a", "b"]);
    assert_eq!(ways(&again("testBefore=\"true\""), flows)[..3], ["", "a", "a a"]);
    let late = [ends, "exclusiveGateway x, task a, task b, task c, endEvent f"].concat();
    let late = elements(&late) + "<b:boundaryEvent id=\"late\" attachedToRef=\"a\"/>";
    assert_eq!(ways(&late, "s>x x>a x>b a>e b>e late>c c>f"), ["a", "b", "c"]);
    // Of what tools add nothing is read, and what is told of a sub-process by its name alone is an activity.
    let others = elements(&[ends, "task a, subProcess w"].concat())
        + "<c:task xmlns:c=\"urn:other\" id=\"c\"/><task xmlns=\"\" id=\"d\"/>";
    assert_eq!(ways(&others, "s>a a>w w>e"), ["a w"]);
    // What is inside, and inside that.
    let inner =
        elements("startEvent s3, endEvent e3, endEvent e4, exclusiveGateway x, task a, task b")
            + &text_of_flows("s3>x x>a x>b a>e3 b>e4");
    let middle = elements("startEvent s2, endEvent e2, task d")
        + &format!("<b:subProcess id=\"v\">{inner}</b:subProcess>")
        + &text_of_flows("s2>v v>d d>e2");
    let whole = |more: &str| {
        elements("startEvent s, endEvent e")
            + &format!("<b:subProcess id=\"w\">{middle}{more}</b:subProcess>")
    };
    assert_eq!(ways(&whole(""), "s>w w>e"), ["a d", "b d"]);
    let again = ways(&whole("<b:standardLoopCharacteristics/>"), "s>w w>e");
    assert_eq!(again, ["a d", "a d a d", "a d b d", "b d", "b d a d", "b d b d"]);
    let again = ways(&whole("<b:standardLoopCharacteristics testBefore=\"1\"/>"), "s>w w>e");
    assert_eq!(again.len(), 7);
}

/// A case is over when nothing is left to do, not when the first end is reached.
#[test]
fn ends_that_are_reached_together_are() {
    let some = "startEvent s, endEvent e, endEvent f, endEvent g, exclusiveGateway x, parallelGateway p, task a, task b, task c";
    // An end alone, or two behind ways that are side by side, also where both flow to one.
    let apart = ways(&elements(some), "s>x x>c c>g x>p p>a p>b a>e b>f");
    assert_eq!(apart, ["a b", "b a", "c"]);
    let some = some.replace("endEvent f, ", "");
    let one = ways(&elements(&some), "s>x x>c c>g x>p p>a p>b a>e b>e");
    assert_eq!(one, ["a b", "b a", "c"]);
    // A way that may be added: its end is reached beside the other or not at all.
    let more = "startEvent s, endEvent e, endEvent f, endEvent g, exclusiveGateway x, task a, task b, task c";
    let more = ways(&elements(more), "s>a a>b a>x x>c c>g x>f b>e");
    assert_eq!(more, ["a b", "a b c", "a c b"]);
    // Within a sub-process: it is over once, when both of its ends are reached.
    let inner = elements("startEvent s2, endEvent e2, endEvent f2, task a, task b");
    let flows = text_of_flows("s2>a s2>b a>e2 b>f2");
    let whole = elements(
        "startEvent s, endEvent e, task c, task d, exclusiveGateway x, exclusiveGateway y",
    ) + &format!("<b:subProcess id=\"w\">{inner}{flows}</b:subProcess>");
    assert_eq!(ways(&whole, "s>x x>d d>y x>w w>y y>c c>e"), ["a b c", "b a c", "d c"]);
    // Also where a way of it may be added, and the end of the other is there before.
    let inner = elements(
        "startEvent s2, endEvent e2, endEvent f2, endEvent g2, exclusiveGateway z, task a, task b",
    );
    let flows = text_of_flows("s2>a a>e2 s2>z z>b b>f2 z>g2");
    let whole = elements("startEvent s, endEvent e, task c")
        + &format!("<b:subProcess id=\"w\">{inner}{flows}</b:subProcess>");
    assert_eq!(ways(&whole, "s>w w>c c>e"), ["a b c", "a c", "b a c"]);
    let flows_to_one = flows.replace("targetRef=\"g2\"", "targetRef=\"f2\"");
    let one =
        whole.replace(&flows, &flows_to_one).replace("<b:endEvent id=\"g2\" name=\"g2\"/>", "");
    assert_eq!(ways(&one, "s>w w>c c>e"), ["a b c", "a c", "b a c"]);
    // A second run would be over with what the first left behind, by a marker, a way back or one around it that repeats.
    let refused = |inside: &str, flows: &str| {
        let refused = from_file(&diagram(inside, flows), &mut Names::default()).unwrap_err();
        refused.to_string()
    };
    let says =
        "subProcess \"w\": it may be done more than once, and its ends are reached now alone";
    let inner = elements(
        "startEvent s2, endEvent e2, endEvent f2, exclusiveGateway z, parallelGateway p, task a, task b",
    );
    let inner = inner + &text_of_flows("s2>z z>a z>p p>a p>b a>e2 b>f2");
    let whole = elements("startEvent s, endEvent e, task c")
        + &format!("<b:subProcess id=\"w\">{inner}</b:subProcess>");
    assert_eq!(ways(&whole, "s>w w>c c>e"), ["a b c", "a c", "b a c"]);
    let marked =
        whole.replace("</b:subProcess>", "<b:standardLoopCharacteristics/></b:subProcess>");
    let back = whole.clone() + &elements("exclusiveGateway x, exclusiveGateway y");
    let late = back.clone() + "<b:boundaryEvent id=\"l\" attachedToRef=\"c\"/>";
    for (inside, flows) in [
        (&marked, "s>w w>c c>e"),
        (&back, "s>x x>w w>c c>y y>x y>e"),
        (&late, "s>x x>w w>c c>y y>e l>x"),
    ] {
        assert!(refused(inside, flows).starts_with(says), "{flows}: {}", refused(inside, flows));
    }
    // By whole ways alone it may be done as often as one likes.
    let each = elements("startEvent s, endEvent e")
        + &format!(
            "<b:subProcess id=\"w\">{}{}<b:standardLoopCharacteristics/></b:subProcess>",
            elements("startEvent s2, endEvent e2, endEvent f2, task a, task b"),
            text_of_flows("s2>a s2>b a>e2 b>f2"),
        );
    assert_eq!(ways(&each, "s>w w>e"), ["a b", "a b a b", "a b b a", "b a", "b a a b", "b a b a"]);
    let never = elements("startEvent s, startEvent t, endEvent e")
        + &format!(
            "<b:subProcess id=\"w\">{}{}</b:subProcess>",
            elements("startEvent s2, endEvent e2, task a, exclusiveGateway z, exclusiveGateway y"),
            text_of_flows("s2>z z>y y>z s2>a a>e2"),
        );
    let says = "subProcess \"w\": it can't end: what is done is done for ever";
    assert_eq!(refused(&never, "s>w w>e t>e"), says);
    let waits = never.replace("exclusiveGateway id=\"y\"", "parallelGateway id=\"y\"");
    let waits = waits
        .replace(&text_of_flows("s2>z z>y y>z s2>a a>e2"), &text_of_flows("s2>z z>y z>a a>y y>e2"));
    let says = "parallelGateway \"y\" (\"y\"): its sub-process can't end: it waits for ways";
    assert!(refused(&waits, "s>w w>e t>e").starts_with(says), "{}", refused(&waits, "s>w w>e t>e"));
    // Very many side by side are looked at one by one.
    let many: String = (0..300)
        .map(|at| format!("<b:task id=\"t{at}\" name=\"t{at}\"/><b:endEvent id=\"e{at}\"/>"))
        .collect();
    let flows: String = (0..300).map(|at| format!(" s>t{at} t{at}>e{at}")).collect();
    let net =
        from_file(&diagram(&(many + &elements("startEvent s")), &flows), &mut Names::default())
            .unwrap();
    assert_eq!(net.transitions.iter().map(|of| of.takes.len()).max(), Some(300));
    for (inside, flows, says) in [
        // By one way twice.
        (
            "startEvent s, endEvent e, parallelGateway p, task a, task b, task c",
            "s>p p>a p>b a>c b>c c>e",
            "endEvent \"e\" (\"e\"): one way reaches it more than once in a case",
        ),
        // Never, since only one way of two comes.
        (
            "startEvent s, endEvent e, exclusiveGateway x, parallelGateway p, task a, task b",
            "s>x x>a x>b a>p b>p p>e",
            "parallelGateway \"p\" (\"p\"): no case can end: it waits for ways",
        ),
        (
            "startEvent s, endEvent e, exclusiveGateway x, exclusiveGateway y, parallelGateway p",
            "s>p x>y y>p p>x p>e",
            "parallelGateway \"p\" (\"p\"): no case can end",
        ),
        // Ever more.
        (
            "startEvent s, endEvent e, exclusiveGateway x, parallelGateway p",
            "s>x x>p p>x p>e",
            "is not found in 10000 states",
        ),
        (
            "startEvent s, endEvent e, exclusiveGateway x, exclusiveGateway y, task a, task b, parallelGateway p",
            "s>x x>a a>y y>b b>x p>e p>p",
            "no case can end: what is done is done for ever",
        ),
        (
            "startEvent s, startEvent s2, endEvent e, parallelGateway p",
            "s>p s2>p p>e",
            "parallelGateway \"p\" (\"p\"): no case can end",
        ),
    ] {
        let found = from_file(&diagram(&elements(inside), flows), &mut Names::default());
        let found = found.unwrap_err().to_string();
        assert!(found.contains(says), "{flows}: {found}");
    }
}

/// Names and what is around them.
#[test]
fn names_are_those_of_the_log_whatever_is_around_them() {
    let ends = "startEvent s, endEvent e";
    // Breaks in names are the page's.
    let mut names = numbered(&["check the order"]);
    let broken = elements(ends) + "<b:task id=\"a\" name=\" check the&#10; order\"/>";
    let net = from_file(&diagram(&broken, "s>a a>e"), &mut names).unwrap();
    let step = Transition { activity: Some(0), takes: vec![0], gives: vec![1] };
    assert_eq!(net, Net { places: 2, first: 0, last: 1, transitions: vec![step] });
    assert_eq!(names.len(), 1);
    // As the log has it, then without what is around it, then with single spaces; two ways to write one that it has not are one.
    let mut names = numbered(&["x  y", " x  y ", "z"]);
    let named: Vec<Option<u32>> = [" x  y ", "x  y", "\tx  y", " z\n", "v\n w", "v w", " "]
        .into_iter()
        .map(|name| file::activity(name, &mut names))
        .collect();
    let expected = [Some(1), Some(0), Some(0), Some(2), Some(3), Some(3), None];
    assert_eq!((named.as_slice(), names.text(3)), (expected.as_slice(), "v w"));
}

#[test]
fn a_diagram_that_is_no_net_is_refused_and_says_where() {
    let line = |more: &str, flows: &str| {
        let inside = elements("startEvent s, endEvent e, task a") + more;
        diagram(&inside, &["s>a a>e ", flows].concat())
    };
    let two = line("", "").replace("id=\"empty\"/>", "id=\"other\"><b:task id=\"z\"/></b:process>");
    let with = |inside: &str| {
        line("", "").replace("name=\"a\"/>", &format!("name=\"a\">{inside}</b:task>"))
    };
    let attached =
        |attributes: &str| line(&format!("<b:boundaryEvent id=\"l\" {attributes}/>"), "");
    let joined = "how many of its ways are taken can't be said";
    for (text, says) in [
        (diagram("", ""), "expected one process with nodes, found none"),
        (two, "expected one process with nodes, found 2: \"other\", \"main\""),
        (line("<b:task/>", ""), "a task has no id"),
        (line("<b:task id=\"a\"/>", ""), "two nodes have the id \"a\""),
        (line("<b:task id=\"b\" name=\"B\"/>", ""), "task \"b\" (\"B\"): no flow leads to it"),
        (line("<b:task id=\"b\"/>", "a>b"), "task \"b\": no flow leaves it"),
        (line("", "a>s"), "startEvent \"s\" (\"s\"): a flow leads to it"),
        (line("", "e>a"), "endEvent \"e\" (\"e\"): a flow leaves it"),
        (line("", "a>z"), "sequenceFlow \"a>z\": targetRef: there is no node \"z\""),
        (line(&elements("exclusiveGateway x, parallelGateway p"), "a>x x>p x>p p>e"), "two flows lead to \"p\""),
        (line(&elements("inclusiveGateway x"), "a>x x>e x>e"), "two flows lead to \"e\""),
        (line(&elements("eventBasedGateway x").replace("/>", " eventGatewayType=\"Parallel\"/>"), ""), "events that are all waited for"),
        (line("<b:boundaryEvent id=\"l\" attachedToRef=\"a\"/>", "l>e a>l"), "boundaryEvent \"l\": a flow leads to it"),
        (line("<b:subProcess id=\"w\"><b:task id=\"i\"/></b:subProcess><b:boundaryEvent id=\"l\" attachedToRef=\"w\"/>", ""), "only events of a task beside it"),
        (line("<b:subProcess id=\"w\"><b:task id=\"i\"/></b:subProcess><b:boundaryEvent id=\"l\" attachedToRef=\"i\"/>", ""), "only events of a task beside it"),
        (line("<b:intermediateThrowEvent id=\"i\"/><b:boundaryEvent id=\"l\" attachedToRef=\"i\"/>", ""), "only events of a task beside it"),
        (line("<b:intermediateThrowEvent id=\"i\"><b:compensateEventDefinition/></b:intermediateThrowEvent>", ""), "compensation can't be said"),
        (line("", "a>e"), "task \"a\" (\"a\"): two flows lead to \"e\""),
        (
            line("", "").replace("sourceRef=\"s\"", ""),
            "sequenceFlow \"s>a\": there is no sourceRef",
        ),
        (diagram(&elements("task a, endEvent e"), "a>e"), "there is no startEvent"),
        (diagram(&elements("task a, startEvent s"), "s>a"), "there is no endEvent"),
        (
            line("<b:subProcess id=\"w\"><b:task id=\"i\"/></b:subProcess>", "a>w w>e"),
            "subProcess \"w\": there is no startEvent",
        ),
        (line(&elements("inclusiveGateway x"), "a>x x>e x>a"), joined),
        (line(&elements("complexGateway x"), "a>x s>x x>e"), joined),
        (line(&elements("adHocSubProcess x"), "a>x x>e"), "of this kind is not read"),
        (line(&elements("transaction x"), "a>x x>e"), "of this kind is not read"),
        (line("<b:subProcess id=\"x\" triggeredByEvent=\"1\"/>", ""), "sub-process of events"),
        (with("<b:multiInstanceLoopCharacteristics/>"), "work on several instances can't be said"),
        (line("<b:task id=\"c\" isForCompensation=\"true\"/>", ""), "compensation can't be said"),
        (attached(""), "boundaryEvent \"l\": there is no attachedToRef"),
        (attached("attachedToRef=\"s\""), "only events of a task beside it are read"),
        (attached("attachedToRef=\"a\" cancelActivity=\"0\""), "events that end their task"),
        (attached("attachedToRef=\"a\""), "boundaryEvent \"l\": no flow leaves it"),
        (
            line(&elements("task b"), "a>b b>e").replace(
                "targetRef=\"b\"/>",
                "targetRef=\"b\"><b:conditionExpression/></b:sequenceFlow>",
            ),
            "task \"a\" (\"a\"): several of the flows that leave it may be taken",
        ),
        (
            line("<b:endEvent id=\"f\"><b:terminateEventDefinition/></b:endEvent>", "a>f"),
            "endEvent \"f\": an end of all that is done side by side",
        ),
        (
            line("<b:subProcess id=\"w\"><b:startEvent id=\"s2\"/><b:endEvent id=\"f\"><b:errorEventDefinition/></b:endEvent></b:subProcess>", "a>w w>e")
                .replace("<b:laneSet/>", "<b:sequenceFlow id=\"x\" sourceRef=\"s2\" targetRef=\"f\"/>"),
            "sequenceFlow \"x\": it leaves its sub-process or enters one",
        ),
        (
            line("<b:subProcess id=\"w\"><b:startEvent id=\"s2\"/><b:sequenceFlow id=\"x\" sourceRef=\"s2\" targetRef=\"f\"/><b:endEvent id=\"f\"><b:errorEventDefinition/></b:endEvent></b:subProcess>", "w>e")
                .replace("\"a>e\" sourceRef=\"a\" targetRef=\"e\"", "\"a>w\" sourceRef=\"a\" targetRef=\"w\""),
            "endEvent \"f\": a sub-process that ends by an error is not read",
        ),
    ] {
        let found = from_file(&text, &mut Names::default());
        let found = found.map_or_else(|refused| refused.to_string(), |net| format!("{net:?}"));
        assert!(found.contains(says), "{text}: {found}");
    }
    let across = line("<b:subProcess id=\"w\"><b:task id=\"i\"/></b:subProcess>", "a>i");
    let found = from_file(&across, &mut Names::default()).unwrap_err().to_string();
    assert_eq!(found, "sequenceFlow \"a>i\": it leaves its sub-process or enters one");
    // Nodes and flows at most, and as deep as one likes.
    let chain = |tasks: usize| {
        let all: String = (0..tasks).map(|at| format!("<b:task id=\"t{at}\"/>")).collect();
        let flows: String = (1..tasks).map(|at| format!(" t{}>t{at}", at - 1)).collect();
        let ends = elements("startEvent s, endEvent e");
        diagram(&(all + &ends), &format!("s>t0 t{}>e{flows}", tasks - 1))
    };
    let most = from_file(&chain(2_498), &mut Names::default()).unwrap();
    assert_eq!((most.places, most.transitions.len()), (2, 1));
    let found = from_file(&chain(2_499), &mut Names::default()).unwrap_err().to_string();
    assert_eq!(found, "expected at most 5000 nodes and flows, found 5001");
    let deep = format!("{}{}", "<b:subProcess id=\"w\">", "</b:subProcess>");
    let deep =
        deep.replace("><", &format!(">{}{}<", "<b:x>".repeat(50_000), "</b:x>".repeat(50_000)));
    let found = from_file(&diagram(&deep, ""), &mut Names::default()).unwrap_err().to_string();
    assert_eq!(found, "there is no startEvent");
    let nested: String =
        (0..2_000).map(|at| format!("<b:subProcess id=\"w{at}\">")).collect::<String>()
            + &"</b:subProcess>".repeat(2_000);
    let found = from_file(&diagram(&nested, ""), &mut Names::default()).unwrap_err().to_string();
    assert_eq!(found, "there is no startEvent");
}
