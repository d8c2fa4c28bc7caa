#![allow(clippy::unwrap_used)]
use super::*;

pub(super) fn numbered(of: &[&str]) -> Names {
    let mut names = Names::default();
    for name in of {
        names.number(name);
    }
    names
}

/// A model of every kind of block, with names that XML must escape.
pub(super) fn model() -> (Tree, Names) {
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
        // Of a name that the log has not, white space is the file's.
        let of = |activity: u32| names.text(activity).split_whitespace().collect();
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
    let remarked = text.replace("<text>f</text>", "<text><!-- as it was -->f<!-- still --></text>");
    assert_eq!(from_file(&remarked, &mut read).unwrap(), net);
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
            of(&[begin, ends, step, &arcs.replace("/>", "><arctype><text>reset</text></arctype></arc>")].concat()),
            "the arc from \"p\" to \"t\" is of a kind that no workflow net has",
        ),
        (
            of(&[begin, ends, step, arcs, "<finalmarkings><marking><place idref=\"q\"><text>2</text></place></marking></finalmarkings>"].concat()),
            "place \"q\": expected one token at the end, found \"2\"",
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

#[test]
fn a_net_that_ends_with_tokens_left_can_t_end() {
    let step = |activity, takes: &[u32], gives: &[u32]| Transition {
        activity: Some(activity),
        takes: takes.to_vec(),
        gives: gives.to_vec(),
    };
    let apart = vec![step(0, &[0], &[2, 3]), step(1, &[2], &[1]), step(2, &[3], &[1])];
    let net = Net { places: 4, first: 0, last: 1, transitions: apart };
    assert_eq!((net.can_end(1_000), net.can_end(3)), (Some(false), None));
    let transitions = vec![step(0, &[0], &[2, 3]), step(1, &[2, 3], &[1])];
    assert_eq!(Net { transitions, ..net }.can_end(1_000), Some(true));
}

/// What takes the square of them to be read is refused before it is.
#[test]
fn very_many_attributes_and_namespaces_are_refused_at_once() {
    let of = |count: usize, name: &str| -> String {
        (0..count).map(|at| format!(" {name}{at}=\"1\"")).collect()
    };
    let says = |text: &str| from_file(text, &mut Names::default()).unwrap_err().to_string();
    let pnml = |attributes: &str, inside: &str| format!("<pnml{attributes}>{inside}</pnml>");
    assert!(says(&pnml(&of(100, "a"), "")).starts_with("expected one place with a token"));
    assert_eq!(
        says(&pnml(&of(101, "a"), "")),
        "<pnml>: expected at most 100 attributes, found 101"
    );
    assert!(says(&pnml(&of(50, "xmlns:a"), "")).starts_with("expected one place with a token"));
    let around = "<pnml>: expected at most 50 namespaces in and around it, found 51";
    assert_eq!(says(&pnml(&of(51, "xmlns:a"), "")), around);
    // Around, not beside.
    let beside = format!("<a{}/>", of(50, "xmlns:a")).repeat(20);
    assert!(says(&pnml("", &beside)).starts_with("expected one place with a token"));
    let beside = format!("<a{}></a>", of(50, "xmlns:a")).repeat(20);
    assert!(says(&pnml("", &beside)).starts_with("expected one place with a token"));
    let within = format!("<a{}><b xmlns:c=\"1\"/></a>", of(50, "xmlns:a"));
    assert_eq!(says(&pnml("", &within)), around.replace("pnml", "b"));
}
