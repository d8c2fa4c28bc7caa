//! Rows that examples of pages look at.

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
