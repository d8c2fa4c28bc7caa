//! Rows that examples of pages look at.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use serde_json::json;

/// Ten days of hours: `at,value`.
pub fn hours() -> String {
    let row = |hour: u32| {
        let (day, load) = (hour / 24 + 1, 100 + 10 * ((hour % 24) % 12));
        format!("2026-01-{day:02}T{:02}:00:00Z,{load}\n", hour % 24)
    };
    format!("at,value\n{}", (0..240).map(row).collect::<String>())
}

/// The same as samples of one series.
pub fn samples() -> String {
    let hours = hours();
    let lines = hours.lines().skip(1).map(|line| format!("api.latency,{line}\n"));
    format!("series,at,value\n{}", lines.collect::<String>())
}

/// Tickets of four agents in two teams: `at,agent,team`.
pub fn opened() -> String {
    let row = |at: u32| {
        let (day, hour, agent) = (at / 200 + 1, at / 8 % 24, at % 4);
        format!("2026-01-{day:02}T{hour:02}:{:02}:00Z,agent {agent},{}\n", at % 60, agent / 2)
    };
    format!("at,agent,team\n{}", (0..2_000).map(row).collect::<String>())
}

/// Texts of four labels: `text,category`.
pub fn tickets() -> String {
    let mut rows = String::from("text,category\n");
    let topics = [
        ("card_arrival", "my new card has not arrived in the post"),
        ("exchange_rate", "the exchange rate of the currency was applied wrongly"),
        ("refund", "how do I get a refund for what I bought"),
        ("pin_blocked", "the pin of the account is blocked after wrong tries"),
    ];
    let beginnings = ["hello", "please help", "still", "again", "sorry", "today", "since monday"];
    let ends = ["thanks", "what can I do", "is that right", "please call me", "any news", "why"];
    for (label, text) in topics {
        for beginning in beginnings {
            for end in ends {
                rows.push_str(&format!("{beginning} {text} {end},{label}\n"));
            }
        }
    }
    rows
}

/// The steps of ten orders, one of which nobody checks: `case_id,activity,started_at,ended_at,resource`.
pub fn orders() -> String {
    let mut rows = String::from("case_id,activity,started_at,ended_at,resource\n");
    for order in 0..10 {
        let steps = [("take", "ann"), ("check", "bob"), ("ship", "ann")];
        for (at, (activity, who)) in steps.into_iter().enumerate() {
            if order == 7 && activity == "check" {
                continue;
            }
            let hour = 8 + at;
            rows.push_str(&format!(
                "o{order},{activity},2026-01-{:02}T{hour:02}:00:00Z,2026-01-{:02}T{hour:02}:20:00Z,{who}\n",
                order + 1,
                order + 1
            ));
        }
    }
    rows
}

/// Two days of calls of models, one in an hour, of which one a day is of a model that is not listed.
pub fn calls() -> String {
    let mut rows =
        String::from("id,at,provider,model,status,input_tokens,output_tokens,cached_tokens\n");
    for hour in 0..48 {
        let (day, of_day) = (hour / 24 + 1, hour % 24);
        let model = if of_day == 5 { "borealis" } else { "aurora" };
        rows.push_str(&format!(
            "c{hour},2026-01-{day:02}T{of_day:02}:00:00Z,acme,{model},ok,1000,100,400\n"
        ));
    }
    rows
}

/// So many minutes after the year 2026 began, within its first months.
fn instant(minutes: u32) -> String {
    let (mut day, of_day) = (minutes / 1_440, minutes % 1_440);
    let mut month = 1;
    for days in [31, 28, 31, 30, 31] {
        if day < days {
            break;
        }
        (day, month) = (day - days, month + 1);
    }
    format!("2026-{month:02}-{:02}T{:02}:{:02}:00Z", day + 1, of_day / 60, of_day % 60)
}

/// Purchases of three customers, one a day; every tenth came a month late.
pub fn purchases() -> String {
    let mut rows = String::from("customer,at,arrived,amount,status\n");
    for day in 0..90 {
        let date = |day: u32| instant(day * 1_440);
        let (at, late) = (date(day), if day % 10 == 9 { 30 } else { 0 });
        let status = if day % 5 == 0 { "open" } else { "paid" };
        let arrived = date(day + late);
        rows.push_str(&format!("c{},{at},{arrived},{}.5,{status}\n", day % 3, day));
    }
    rows
}

/// 197 tickets that are done, of which all that are escalated are solved, and few others; three wait for what comes after the reply.
pub fn helpdesk() -> String {
    let mut rows = String::from("case_id,activity,started_at,ended_at,resource\n");
    for ticket in 0..200_u32 {
        let mut push = |activity: &str, minute: u32, who: &str| {
            let at = instant(ticket * 60 + minute);
            rows.push_str(&format!("t{ticket},{activity},{at},{at},{who}\n"));
        };
        push("open", 0, "");
        push("reply", 10, "ann");
        if ticket < 197 {
            push(["escalate", "refund", "wait"][(ticket % 3) as usize], 370, "bob");
            let is_solved = ticket % 3 == 0 || ticket % 12 == 4;
            push(if is_solved { "solved" } else { "closed" }, 380, "bob");
        }
    }
    rows
}

/// Two tries of each of 40 tasks by two agents, of which the new one always solves them and the old one at its first try.
pub fn trials() -> String {
    let mut rows = String::from("agent,task,kind,solved,seconds\n");
    for task in 0..40 {
        let kind = if task % 4 == 0 { "refund" } else { "order" };
        for attempt in 0..2 {
            let seconds = 3 + task % 7;
            rows.push_str(&format!("old,t{task},{kind},{},{seconds}\n", attempt == 0));
            rows.push_str(&format!("new,t{task},{kind},true,{seconds}\n"));
        }
    }
    rows
}

/// Six hundred minutes of calls of a dear and a cheap model, of which the cheap one does what is easy as well, and half of what is hard.
pub fn judged() -> String {
    let mut rows = String::from("at,kind,tokens,model,cost,good\n");
    for minute in 0..600 {
        let at = format!("2026-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60);
        for (kind, model, cost) in [
            ("easy", "dear", 1.0),
            ("easy", "cheap", 0.1),
            ("hard", "dear", 1.0),
            ("hard", "cheap", 0.1),
        ] {
            let good = kind == "easy" || model == "dear" || minute % 2 == 0;
            rows.push_str(&format!("{at},{kind},100,{model},{cost},{good}\n"));
        }
    }
    rows
}

/// Forty days of answers of two models, of which one says twice as much from the thirtieth day on.
pub fn answers() -> String {
    let mut rows = String::from("at,model,tokens,label,answer\n");
    for day in 0..40 {
        for row in 0..40 {
            let place = (row * 7 + day * 3) % 40;
            let at = format!(
                "2026-{:02}-{:02}T{:02}:{:02}:00Z",
                1 + day / 31,
                1 + day % 31,
                row / 2,
                30 * (row % 2)
            );
            let label = if place < 25 { "refund" } else { "order" };
            for model in ["steady", "wordy"] {
                let tokens = if model == "wordy" && day >= 30 { 200 + place } else { 100 + place };
                rows.push_str(&format!(
                    "{at},{model},{tokens},{label},{}\n",
                    "x".repeat(10 + place % 5)
                ));
            }
        }
    }
    rows
}

/// A list of prices as LiteLLM publishes it.
pub fn prices() -> String {
    json!({
        "sample_spec": { "input_cost_per_token": "in words" },
        "gpt-4o": { "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "litellm_provider": "openai", "mode": "chat" },
    })
    .to_string()
}

/// Forty-four days of visits, on the last of which half of the emails are missing and some users are nobody.
pub fn visits() -> String {
    let mut rows = String::from("id,at,user_id,email,seconds\n");
    for day in 0..44 {
        let count = if (day + 3) % 7 < 5 { 100 } else { 40 };
        for visit in 0..count {
            let at = format!(
                "2026-{:02}-{:02}T{:02}:{:02}:00Z",
                1 + day / 31,
                1 + day % 31,
                visit * 24 / count,
                visit % 3 * 20
            );
            let is_bad = day == 43;
            let user = if is_bad && visit % 10 == 0 { 99 } else { visit % 30 };
            let email = if is_bad && visit % 2 == 0 { "" } else { "someone@shop.example" };
            let seconds = 5 + (visit * 7 + day * 3) % 40;
            rows.push_str(&format!("v{day}-{visit},{at},u{user},{email},{seconds}\n"));
        }
    }
    rows
}

/// Four days of requests to a gateway, of which one in ten is answered by another model than was asked for.
pub fn requests() -> String {
    let mut rows = String::from(
        "at,team,requested_model,model,provider,attempts,cache,queued_ms,latency_ms,status\n",
    );
    for at in 0..4 * 24 * 20 {
        let (day, hour, minute) = (1 + at / 480, at / 20 % 24, at % 20 * 3);
        let falls_back = at % 10 == 0;
        let (model, provider) = if falls_back { ("small", "b") } else { ("large", "a") };
        let (attempts, cache) =
            (1 + u8::from(falls_back), if at % 4 == 0 { "hit" } else { "miss" });
        let status = if at % 50 == 0 { "error" } else { "ok" };
        let (queued, took) = (at % 7 * 10, 200 + at % 90);
        rows.push_str(&format!(
            "2026-01-{day:02}T{hour:02}:{minute:02}:00Z,team {},large,{model},{provider},{attempts},{cache},{queued},{took},{status}\n",
            at % 2
        ));
    }
    rows
}

/// Trainings of three days, one of which failed; the last day is not over.
pub fn trainings() -> &'static str {
    "id,ended_at,base_model,status,gpu_hours,cost,accuracy_before,accuracy_after\n\
     t1,2026-01-01T10:00:00Z,small,succeeded,4,10,0.80,0.84\n\
     t2,2026-01-01T12:00:00Z,small,failed,2,5,0.84,\n\
     t3,2026-01-02T10:00:00Z,large,succeeded,40,100,0.85,0.86\n\
     t4,2026-01-05T10:00:00Z,small,succeeded,4,10,0.84,0.85\n"
}

/// Requests that two models answer, of which the cheap one knows when it is wrong: `at,kind,model,request,cost,good,sure,served`.
pub fn twice() -> String {
    let mut rows = String::from("at,kind,model,request,cost,good,sure,served\n");
    for at in 0..2_000 {
        let is_hard = at % 4 == 0;
        let when = format!("2026-01-{:02}T{:02}:{:02}:00Z", 1 + at / 1_440, at / 60 % 24, at % 60);
        let sure = if is_hard { 0.4 } else { 0.85 };
        rows.push_str(&format!("{when},any,large,r{at},1.0,true,0.99,true\n"));
        rows.push_str(&format!("{when},any,small,r{at},0.1,{},{sure},false\n", !is_hard));
    }
    rows
}

/// What two models answer to 1,200 rows, `id,model,label,confidence`, and what is so, `id,label,checked_at`.
pub fn checked() -> [String; 3] {
    let mut files = [
        String::from("id,model,label,confidence\n"),
        String::from("id,model,label,confidence\n"),
        String::from("id,label,checked_at\n"),
    ];
    for at in 0..1_200u32 {
        let label = ["refund", "order", "other"][at as usize % 3];
        // One in so many is wrong, the last three hundred of the first model more often.
        let wrong = |of: u32| if at / 3 % of == 0 { "wrong" } else { label };
        let first = wrong(if at < 900 { 7 } else { 3 });
        files[0].push_str(&format!("r{at},m@1,{first},0.86\n"));
        files[1].push_str(&format!("r{at},m@2,{},0.95\n", wrong(20)));
        let day = at / 30;
        files[2].push_str(&format!(
            "r{at},{label},2026-{:02}-{:02}T12:00:00Z\n",
            1 + day / 31,
            1 + day % 31
        ));
    }
    files
}

/// Those who visit: `user_id`.
pub fn visitors() -> String {
    format!("user_id\n{}", (0..30).map(|user| format!("u{user}\n")).collect::<String>())
}

/// Forty days of checkouts in two regions, `at,region,status,seconds`, of which one has errors on one evening.
pub fn checkouts() -> String {
    let mut rows = String::from("at,region,status,seconds\n");
    for at in 0..40 * 24 * 120u32 {
        let minute = at / 2;
        let (day, hour) = (minute / 1_440, minute / 60 % 24);
        let (month, date) = if day < 31 { (1, day + 1) } else { (2, day - 30) };
        let region = if at % 2 == 0 { "eu" } else { "us" };
        let is_bad = month == 2 && date == 8 && (18..22).contains(&hour) && region == "eu";
        // Some errors there always are.
        let chance = (at.wrapping_mul(2_654_435_761) >> 16) % 100;
        let status = if chance < if is_bad { 60 } else { 10 } { "error" } else { "ok" };
        let seconds = 1.0 + f64::from(chance % 50) / 25.0;
        let minute = minute % 60;
        rows.push_str(&format!(
            "2026-{month:02}-{date:02}T{hour:02}:{minute:02}:00Z,{region},{status},{seconds}\n"
        ));
    }
    rows
}

pub fn write_orders(path: &Path) {
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("amount", Arc::new(Float64Array::from(vec![1.5, 20.0, 3.25]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// What the words of people who look the same up twice are in two lists.
pub fn write_people(path: &Path) {
    let mut rows = String::from(
        "rec_id, given_name, surname, street_number, address_1, address_2, suburb, postcode, state, date_of_birth, soc_sec_id\n",
    );
    let (names, surnames) =
        (["sarah", "lachlan", "mia", "noah", "ruby"], ["berry", "waller", "nguyen", "white"]);
    for (i, given) in names.iter().enumerate() {
        for (j, surname) in surnames.iter().enumerate() {
            let day = 10 + i * 4 + j;
            let row = format!(
                "{given}, {surname}, {day}, forbes street, , perth, 4{i}{j}0, wa, 196{i}02{day}, 70{i}{j}"
            );
            rows.push_str(&format!(
                "rec-{i}{j}-org, {row}\nrec-{i}{j}-dup-0, {}\n",
                row.replace("street", "stret")
            ));
        }
    }
    std::fs::write(path, rows).unwrap();
}

/// What two shops call the same forty things, and pairs of them that somebody looked at.
pub fn write_shops(products: &Path, judged: &Path) {
    let brands = ["acme", "globex", "initech", "umbrella"];
    let things = ["drill", "kettle", "lamp", "mixer", "router"];
    let (mut rows, mut pairs) =
        (String::from("id,title,price\n"), String::from("id_a,id_b,is_duplicate\n"));
    for number in 0..40 {
        let (brand, thing) = (brands[number % 4], things[number % 5]);
        let price = 20.0 + 1.5 * number as f64;
        rows.push_str(&format!("a{number},{brand} {thing} x{number}0 black,{price}\n"));
        rows.push_str(&format!("b{number},{thing} by {brand} x-{number}0,{}\n", price + 0.2));
        pairs.push_str(&format!("a{number},b{number},true\n"));
        pairs.push_str(&format!("a{number},b{},false\n", (number + 20) % 40));
    }
    std::fs::write(products, rows).unwrap();
    std::fs::write(judged, pairs).unwrap();
}

/// Five years of values at the first of each month.
pub fn months() -> String {
    values(60, |number| format!("{}-{:02}-01", 2021 + number / 12, number % 12 + 1))
}

/// Four weeks of values from Monday, 2026-06-01, to Friday.
pub fn business_days() -> String {
    values(20, |number| format!("2026-06-{:02}", number / 5 * 7 + number % 5 + 1))
}

fn values(count: i32, date: impl Fn(i32) -> String) -> String {
    let row = |number: i32| format!("s,{}T09:00:00Z,{}\n", date(number), 100 + number % 12);
    "series,at,value\n".to_owned() + &(0..count).map(row).collect::<String>()
}
