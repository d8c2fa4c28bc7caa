#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use super::*;

fn numbered(of: &[&str]) -> Names {
    let mut names = Names::default();
    for name in of {
        names.number(name);
    }
    names
}

/// A model of every kind of block, with names that XML must escape.
fn model() -> (Tree, Names) {
    let names = numbered(&["a & b", "<c>", "d\"\t\nx", "e", "f"]);
    let block = |operator, parts: &[Tree]| Tree::Block(operator, parts.to_vec());
    let of = Tree::Activity;
    let choice = block(Operator::Exclusive, &[of(1), Tree::Silent]);
    let again = block(Operator::Loop, &[of(2), of(3)]);
    let both = block(Operator::Parallel, &[again, of(4)]);
    (block(Operator::Sequence, &[of(0), choice, both]), names)
}

#[test]
fn a_net_that_is_written_and_read_is_the_same() {
    let (tree, names) = model();
    let net = Net::of(&tree);
    let text = to_pnml(&net, &names);
    let mut read = names.clone();
    assert_eq!(from_file(&text, &mut read).unwrap(), net);
    assert_eq!(read.len(), names.len());
    // Activities of other numbers are told by their names, and what is new gets one.
    let mut others = numbered(&["f", "a & b"]);
    let other = from_file(&text, &mut others).unwrap();
    let named = |net: &Net, names: &Names| -> Vec<Option<String>> {
        let of = |activity: u32| names.text(activity).to_owned();
        net.transitions.iter().map(|it| it.activity.map(of)).collect()
    };
    assert_eq!(named(&other, &others), named(&net, &names));
    // White space around a name is none of it, unless the log has such a name.
    let spaced_of = |name: &str| {
        let mut names = numbered(&["a & b", "<c>", "d\"\t\nx", "e", "f", name]);
        let spaced = text.replace("<text>e</text>", &format!("<text>{name}</text>"));
        from_file(&spaced, &mut names).unwrap() == net
    };
    assert!(spaced_of("g") != spaced_of("e"));
    assert!(!spaced_of(" e "));
    let spaced = text.replace("<text>f</text>", "<text>\n  f\n </text>");
    assert_eq!(from_file(&spaced, &mut read).unwrap(), net);
    // Without its end it is where nothing leaves.
    let (begin, rest) = text.split_once("<finalmarkings>").unwrap();
    let (_, rest) = rest.split_once("</finalmarkings>").unwrap();
    let without = format!("{begin}{rest}");
    assert_eq!(from_file(&without, &mut read).unwrap(), net);
}

#[test]
fn what_is_no_net_is_refused_and_says_why() {
    let of = |inside: &str| format!("<pnml><net><page>{inside}</page></net></pnml>");
    let begin = "<place id=\"p\"><initialMarking><text>1</text></initialMarking></place>";
    let ends = "<place id=\"q\"/>";
    let step = "<transition id=\"t\"><name><text>a</text></name></transition>";
    let arcs = "<arc source=\"p\" target=\"t\"/><arc source=\"t\" target=\"q\"/>";
    let whole = of(&[begin, ends, step, arcs].concat());
    let mut names = Names::default();
    let net = from_file(&whole, &mut names).unwrap();
    assert_eq!((net.places, net.first, net.last, net.transitions.len()), (2, 0, 1, 1));
    for (text, says) in [
        ("<pnml>".to_owned(), "no XML: "),
        (of(ends), "expected one place with a token at the beginning, found none"),
        (
            of(&[begin, ends, step].concat()),
            "no workflow net: transition \"t\" comes from no place",
        ),
        (
            of(&[begin, ends, step, "<arc source=\"p\" target=\"t\"/>"].concat()),
            "no workflow net: transition \"t\" leads to no place",
        ),
        (
            of(&[begin, ends, step, arcs, "<arc source=\"t\" target=\"q\"/>"].concat()),
            "there are two arcs from \"t\" to \"q\"",
        ),
        (
            of(&[begin, &begin.replace('"', "'").replace("'p'", "'r'")].concat()),
            "found 2: \"p\", \"r\"",
        ),
        (of(&[begin, begin].concat()), "two places have the id \"p\""),
        (of(&[begin, ends, step, step].concat()), "two nodes have the id \"t\""),
        (of(&[begin, ends, "<place/>"].concat()), "a place has no id"),
        (
            of(&[begin, ends, "<arc source=\"p\" target=\"q\"/>"].concat()),
            "joins no place with a transition",
        ),
        (of(&[begin, ends, step, "<arc source=\"p\"/>"].concat()), "an arc has no target"),
        (
            of(&[
                begin,
                ends,
                step,
                &arcs.replace("/>", "><inscription><text>0</text></inscription></arc>"),
            ]
            .concat()),
            "expected a weight of 1, as in every workflow net, found 0",
        ),
        (
            of(&[&begin.replace('1', "2"), ends].concat()),
            "expected one token at the beginning, found 2",
        ),
        (
            of(&[&begin.replace('1', "x"), ends].concat()),
            "initialMarking: expected a whole number, found \"x\"",
        ),
        (
            of(&[begin, ends, "<place id=\"z\"/>", step, arcs].concat()),
            "expected one place where cases end, found 2: \"q\", \"z\"",
        ),
    ] {
        let found = from_file(&text, &mut Names::default()).unwrap_err().to_string();
        assert!(found.contains(says), "{text}: {found}");
    }
    // Deep and long input is read once, and not followed.
    let inside =
        format!("{}{}", "<finalmarkings>".repeat(50_000), "</finalmarkings>".repeat(50_000));
    let deep = of(&[begin, ends, step, arcs, &inside].concat());
    assert_eq!(from_file(&deep, &mut Names::default()).unwrap(), net);
    let marked = inside.replacen("</", "<place idref=\"\"/></", 1);
    let deep = of(&[begin, ends, step, arcs, &marked].concat());
    let says = from_file(&deep, &mut Names::default()).unwrap_err().to_string();
    assert_eq!(says, "there is no place \"\"");
    let long = format!("<pnml>{}</pnml>", " ".repeat(5 << 20));
    let says = from_file(&long, &mut Names::default()).unwrap_err().to_string();
    assert!(says.contains("expected at most 4194304 bytes, found "), "{says}");
    let many = of(&(0..5_001).map(|at| format!("<place id=\"x{at}\"/>")).collect::<String>());
    let says = from_file(&many, &mut Names::default()).unwrap_err().to_string();
    assert!(says.contains("expected at most 5000 places and transitions, found 5001"), "{says}");
}

/// Each gateway that opens is closed, what flows in and out of each node fits its kind, and every node has its place on the page.
#[test]
fn a_tree_as_bpmn_is_whole() {
    let (tree, names) = model();
    let text = to_bpmn(&tree, &names);
    let document = roxmltree::Document::parse(&text).unwrap();
    let all: Vec<_> = document.descendants().filter(roxmltree::Node::is_element).collect();
    let count = |name: &str| all.iter().filter(|node| node.tag_name().name() == name).count();
    let kinds = ["startEvent", "endEvent", "task", "exclusiveGateway", "parallelGateway"];
    assert_eq!(kinds.map(count), [1, 1, 5, 4, 2]);
    let tasks: Vec<&str> = all
        .iter()
        .filter(|node| node.tag_name().name() == "task")
        .map(|node| node.attribute("name").unwrap())
        .collect();
    assert_eq!(tasks, ["a & b", "<c>", "d\"\t\nx", "e", "f"]);
    let flows: Vec<(&str, &str)> = all
        .iter()
        .filter(|node| node.tag_name().name() == "sequenceFlow")
        .map(|node| (node.attribute("sourceRef").unwrap(), node.attribute("targetRef").unwrap()))
        .collect();
    assert_eq!(
        (flows.len(), count("BPMNShape"), count("BPMNEdge")),
        (count("incoming"), 13, flows.len())
    );
    for node in all.iter().filter(|node| kinds.contains(&node.tag_name().name())) {
        let id = node.attribute("id").unwrap();
        let into = flows.iter().filter(|(_, to)| *to == id).count();
        let out = flows.iter().filter(|(from, _)| *from == id).count();
        let fits = match node.tag_name().name() {
            "startEvent" => (into, out) == (0, 1),
            "endEvent" => (into, out) == (1, 0),
            "task" => (into, out) == (1, 1),
            _ => into + out >= 3,
        };
        assert!(fits, "{id}: {into} in, {out} out");
    }
    // Nothing that is silent alone is a start and an end.
    let nothing = to_bpmn(&Tree::Silent, &names);
    assert!(nothing.contains("sourceRef=\"n0\" targetRef=\"n1\""), "{nothing}");
}

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
    let flows: String = flows
        .split_whitespace()
        .map(|flow| {
            let (from, to) = flow.split_once('>').unwrap();
            format!("<b:sequenceFlow id=\"{flow}\" sourceRef=\"{from}\" targetRef=\"{to}\"/>")
        })
        .collect();
    format!(
        "<b:definitions xmlns:b=\"http://www.omg.org/spec/BPMN/20100524/MODEL\"><b:collaboration/><b:process id=\"empty\"/>\
         <b:process id=\"main\"><b:laneSet/>{inside}{flows}</b:process></b:definitions>"
    )
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
    let mut names = numbered(&["rang"]);
    let net = from_file(&diagram(inside, flows), &mut names).unwrap();
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
    // Events are seen where the log has them, tasks without a name never.
    let events =
        [ends, "intermediateCatchEvent rang, intermediateThrowEvent sent, task a"].concat();
    let events = elements(&events) + "<b:task id=\"t\"/>";
    assert_eq!(ways(&events, "s>rang rang>sent sent>t t>a a>e"), ["rang a"]);
    // A task that is done again, and one that an event ends.
    let again = elements(ends.trim_end_matches([',', ' ']))
        + "<b:task id=\"a\" name=\"a\"><b:standardLoopCharacteristics/></b:task>";
    assert_eq!(ways(&again, "s>a a>e"), ["a", "a a", "a a a", "a a a a"]);
    let late = [ends, "exclusiveGateway x, task a, task b, task c, endEvent f"].concat();
    let late = elements(&late) + "<b:boundaryEvent id=\"late\" attachedToRef=\"a\"/>";
    assert_eq!(ways(&late, "s>x x>a x>b a>e b>e late>c c>f"), ["a", "b", "c"]);
    // What is inside, and inside that.
    let inner =
        elements("startEvent s2, endEvent e2, endEvent e3, exclusiveGateway x, task a, task b");
    let flows = diagram("", "s2>x x>a x>b a>e2 b>e3");
    let flows = flows.split_once("<b:laneSet/>").unwrap().1.split_once("</b:process>").unwrap().0;
    let whole = format!(
        "{}<b:subProcess id=\"w\">{inner}{flows}<b:standardLoopCharacteristics/></b:subProcess>",
        elements(&[ends, "task c"].concat())
    );
    assert_eq!(
        ways(&whole, "s>w w>c c>e")[..5],
        ["a a a c", "a a b c", "a a c", "a b a c", "a b b c"]
    );
    // Breaks in names are the page's.
    let mut names = numbered(&["check the order"]);
    let broken = elements(ends.trim_end_matches([',', ' ']))
        + "<b:task id=\"a\" name=\" check the&#10; order\"/>";
    let net = from_file(&diagram(&broken, "s>a a>e"), &mut names).unwrap();
    let step = Transition { activity: Some(0), takes: vec![0], gives: vec![1] };
    assert_eq!(net, Net { places: 2, first: 0, last: 1, transitions: vec![step] });
    assert_eq!(names.len(), 1);
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
        (line("", "a>e"), "task \"a\" (\"a\"): two flows lead to \"e\""),
        (
            line("", "").replace("sourceRef=\"s\"", ""),
            "sequenceFlow \"s>a\": there is no sourceRef",
        ),
        (diagram(&elements("task a, endEvent e"), "a>e"), "there is no startEvent"),
        (diagram(&elements("task a, startEvent s"), "s>a"), "there is no endEvent"),
        (
            diagram(&elements("startEvent s, endEvent e, subProcess w"), "s>w w>e"),
            "subProcess \"w\" (\"w\"): there is no startEvent",
        ),
        (line(&elements("inclusiveGateway x"), "a>x x>e x>a"), joined),
        (line(&elements("complexGateway x"), "a>x s>x x>e"), joined),
        (line(&elements("adHocSubProcess x"), "a>x x>e"), "of this kind is not read"),
        (line(&elements("transaction x"), "a>x x>e"), "of this kind is not read"),
        (line("<b:subProcess id=\"x\" triggeredByEvent=\"true\"/>", ""), "sub-process of events"),
        (with("<b:multiInstanceLoopCharacteristics/>"), "several instances at once can't be said"),
        (line("<b:task id=\"c\" isForCompensation=\"true\"/>", ""), "compensation can't be said"),
        (attached(""), "boundaryEvent \"l\": there is no attachedToRef"),
        (attached("attachedToRef=\"s\""), "only events of a task are read"),
        (attached("attachedToRef=\"a\" cancelActivity=\"false\""), "events that end their task"),
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
    ] {
        let found = from_file(&text, &mut Names::default()).unwrap_err().to_string();
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

#[test]
fn a_net_that_ends_with_tokens_left_can_t_end() {
    let ends = elements("startEvent s, endEvent e, endEvent f, task a, task b, task c");
    let mut names = Names::default();
    let side_by_side = from_file(&diagram(&ends, "s>a a>b a>c b>e c>f"), &mut names).unwrap();
    assert_eq!(side_by_side.can_end(1_000), Some(false));
    assert_eq!(side_by_side.can_end(3), None);
}
