#![allow(clippy::unwrap_used)]
use super::*;

fn amount(text: &str) -> Amount {
    Amount::parse(text).unwrap()
}

fn rates(of: &[(&str, &str)]) -> Rates {
    let mut rates = Rates::default();
    for (name, price) in of {
        assert!(rates.set(PriceKey::parse(name).unwrap(), amount(price)));
    }
    rates
}

fn listed(from_us: Option<i64>, until_us: Option<i64>, price: &str) -> Listed {
    let rates = rates(&[("input_cost_per_token", price), ("output_cost_per_token", price)]);
    Listed { provider: None, from_us, until_us, is_foreign: false, rates }
}

fn sent(input: i64) -> Tokens<'static> {
    Tokens { input, ..Tokens::default() }
}

#[test]
fn amounts_are_read_as_they_are_written() {
    for (text, atto) in [
        ("2.5e-06", 2_500_000_000_000),
        ("0.0000025", 2_500_000_000_000),
        ("1", 10i128.pow(18)),
        ("-3E2", -300 * 10i128.pow(18)),
        (".5", 5 * 10i128.pow(17)),
        ("1.0000000000000000000000000000000000000000", 10i128.pow(18)),
        ("0e-999999", 0),
        ("1e-999", 0),
        // Halves of the last digit go to the even one.
        ("0.5e-18", 0),
        ("1.5e-18", 2),
        ("2.5e-18", 2),
        ("2.500001e-18", 3),
        ("-1.5e-18", -2),
    ] {
        assert_eq!(Amount::parse(text).map(Amount::atto), Some(atto), "{text}");
    }
    for text in
        ["", ".", "-", "e5", "1e", "1,5", "1e99", "nan", "0x1", "1e99999999999", "--1", "1.-5"]
    {
        assert_eq!(Amount::parse(text), None, "{text}");
    }
    assert_eq!(Amount::of_float(3.0001999999999996e-7).unwrap().atto(), 300_020_000_000);
    assert_eq!(Amount::of_float(2.5e-6), Some(amount("2.5e-06")));
    assert_eq!(Amount::of_float(f64::NAN), None);
    assert_eq!(Amount::of_decimal(25, 7), Some(amount("0.0000025")));
    assert_eq!(Amount::of_decimal(25 * 10i128.pow(26), 33), Some(amount("0.0000025")));
    assert_eq!(Amount::of_decimal(i128::MAX, 0), None);
}

#[test]
fn amounts_are_written_exactly() {
    for (text, said) in [
        ("12", "12.00"),
        ("0.5", "0.50"),
        ("-0.000000000000000001", "-0.000000000000000001"),
        ("1.25e-06", "0.00000125"),
    ] {
        assert_eq!(amount(text).to_string(), said);
    }
    let mut most = Amount::of_atto(i128::MAX);
    let before = most;
    most += amount("1");
    assert_eq!((most, most.times(2)), (before, None));
}

#[test]
fn names_of_prices() {
    for name in [
        "input_cost_per_token",
        "output_cost_per_token_batches",
        "cache_read_input_token_cost_above_200k_tokens_priority",
        "cache_creation_input_token_cost",
        "output_cost_per_reasoning_token",
    ] {
        assert!(PriceKey::parse(name).is_some(), "{name}");
    }
    for name in [
        "input_cost_per_audio_token",
        "input_cost_per_token_cache_hit",
        "cache_creation_input_token_cost_above_1hr",
        "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
        "input_cost_per_token_",
        "input_cost_per_tokens",
        "output_cost_per_image",
        "max_tokens",
    ] {
        assert_eq!(PriceKey::parse(name), None, "{name}");
    }
}

#[test]
fn parts_of_a_call_cost_what_is_listed_for_them() {
    let all = rates(&[
        ("input_cost_per_token", "3e-06"),
        ("cache_read_input_token_cost", "3e-07"),
        ("cache_creation_input_token_cost", "3.75e-06"),
        ("output_cost_per_token", "1.5e-05"),
        ("output_cost_per_reasoning_token", "2e-05"),
        ("input_cost_per_token_batches", "1.5e-06"),
        ("input_cost_per_token_above_200k_tokens", "6e-06"),
    ]);
    let call = Tokens {
        input: 1_000,
        cache_read: 600,
        cache_write: 100,
        output: 50,
        reasoning: 20,
        tier: "",
    };
    // 300 × 3e-6 + 600 × 3e-7 + 100 × 3.75e-6 + 30 × 1.5e-5 + 20 × 2e-5
    assert_eq!(all.charge(&call), Ok(amount("0.002305")));
    // A tier without a price of its own has the one without a tier.
    assert_eq!(all.charge(&Tokens { tier: "batches", ..call }), Ok(amount("0.001855")));
    assert_eq!(all.charge(&Tokens { tier: "flex", ..call }), all.charge(&call));
    // Above a length, and not at it; for all of its tokens.
    assert_eq!(all.charge(&sent(200_000)), Ok(amount("0.6")));
    assert_eq!(all.charge(&sent(200_001)), Ok(amount("1.200006")));
    let batch = Tokens { tier: "batches", ..sent(200_001) };
    assert_eq!(all.charge(&batch), Ok(amount("1.200006")));
    let tier = rates(&[
        ("output_cost_per_token", "4"),
        ("output_cost_per_token_flex", "2"),
        ("output_cost_per_reasoning_token", "5"),
        ("output_cost_per_reasoning_token_priority", "9"),
    ]);
    let thought = |tier| Tokens { output: 1, reasoning: 1, tier, ..Tokens::default() };
    for (name, price) in [("", "5"), ("flex", "2"), ("priority", "9"), ("other", "5")] {
        assert_eq!(tier.charge(&thought(name)), Ok(amount(price)), "{name}");
    }
    // What is not listed by itself costs what input and output do.
    let few = rates(&[("input_cost_per_token", "2e-06"), ("output_cost_per_token", "4e-06")]);
    assert_eq!(few.charge(&call), Ok(amount("0.0022")));
    let no_output = rates(&[("input_cost_per_token", "2e-06")]);
    assert_eq!(no_output.charge(&sent(10)), Ok(amount("0.00002")));
    assert_eq!(no_output.charge(&call), Err(Unpriced::NoTokenPrice));
    assert_eq!(Rates::default().charge(&Tokens::default()), Ok(Amount::default()));
}

#[test]
fn calls_that_can_not_be_have_no_price() {
    let some = rates(&[("input_cost_per_token", "1000"), ("output_cost_per_token", "1000")]);
    assert_eq!(some.charge(&sent(-1)), Err(Unpriced::NegativeTokens));
    assert_eq!(some.charge(&sent(i64::MIN)), Err(Unpriced::NegativeTokens));
    assert_eq!(some.charge(&sent(TOKENS_MAX)), Ok(amount("1000000000000")));
    assert_eq!(some.charge(&sent(TOKENS_MAX + 1)), Err(Unpriced::TooManyTokens));
    let cached = Tokens { cache_read: 5, cache_write: 6, ..sent(10) };
    assert_eq!(some.charge(&cached), Err(Unpriced::PartsExceedWhole));
    let reasoned = Tokens { output: 1, reasoning: 2, ..sent(10) };
    assert_eq!(some.charge(&reasoned), Err(Unpriced::PartsExceedWhole));
    let mut none = Rates::default();
    let key = || PriceKey::parse("input_cost_per_token").unwrap();
    assert!(!none.set(key(), amount("-1e-9")) && !none.set(key(), amount("1001")));
    assert!(none.is_empty());
    let many = (0..300).filter(|at| {
        let key = PriceKey::parse(&format!("input_cost_per_token_above_{at}k_tokens"));
        none.set(key.unwrap(), amount("1"))
    });
    assert_eq!(many.count(), 200);
}

#[test]
fn the_price_is_that_of_the_instant() {
    let mut book = PriceBook::default();
    book.begin_list();
    book.add("m", listed(None, None, "1"));
    book.add("m", listed(Some(100), None, "2"));
    book.add("m", listed(Some(200), Some(300), "3"));
    book.add("late", listed(Some(100), None, "1"));
    book.finish();
    let cost = |at_us| book.charge(None, "m", at_us, &sent(1)).map(|of| of.cost.to_string());
    for (at_us, price) in [
        (i64::MIN, "1.00"),
        (99, "1.00"),
        (100, "2.00"),
        (199, "2.00"),
        (200, "3.00"),
        (299, "3.00"),
        (300, "2.00"),
    ] {
        assert_eq!(cost(at_us), Ok(price.to_owned()), "{at_us}");
    }
    assert_eq!(book.charge(None, "late", 99, &sent(1)), Err(Unpriced::NotThen));
    assert_eq!(book.charge(None, "never", 99, &sent(1)), Err(Unpriced::NotListed));
}

#[test]
fn the_list_before_counts_and_the_provider_is_looked_at_first() {
    let mut book = PriceBook::default();
    let of = |provider: &str, price| Listed {
        provider: Some(provider.to_owned()),
        ..listed(None, None, price)
    };
    book.begin_list();
    book.add("m", listed(Some(100), None, "9"));
    book.begin_list();
    book.add("m", of("first", "1"));
    book.add("m", of("second", "2"));
    book.add("third/m", of("third", "3"));
    book.add("n", of("first", "4"));
    let cost = |provider, model, at_us| {
        let charged = book.charge(provider, model, at_us, &sent(1));
        charged.map(|of| (of.cost.to_string(), of.model))
    };
    let is = |price: &str, name| Ok((format!("{price}.00"), name));
    assert_eq!(cost(Some("Second"), "m", 0), is("2", "m"));
    assert_eq!(cost(Some("third"), "m", 0), is("3", "third/m"));
    assert_eq!(cost(Some("second"), "m", 100), is("9", "m"));
    assert_eq!(cost(Some("other"), "n", 0), is("4", "n"));
    assert_eq!(cost(None, "m", 0), Err(Unpriced::SeveralPrices));
    assert_eq!(book.models(), 4);
    // Twice the same is no question, and what is in another currency is as if it were not there.
    book.add("n", of("second", "4"));
    let foreign = || Listed { is_foreign: true, ..listed(Some(50), None, "5") };
    book.add("n", foreign());
    book.add("f", foreign());
    // What has no price of such tokens is asked no more.
    let no_output = rates(&[("input_cost_per_token", "7")]);
    book.add("other/n", Listed { rates: no_output, ..of("other", "1") });
    book.finish();
    let price = |model, at_us| book.charge(None, model, at_us, &sent(1)).map(|of| of.cost);
    assert_eq!((price("n", 0), price("n", 50)), (Ok(amount("4")), Ok(amount("4"))));
    assert_eq!(
        (price("f", 50), price("f", 0)),
        (Err(Unpriced::OtherCurrency), Err(Unpriced::NotThen))
    );
    let said = Tokens { output: 1, ..sent(1) };
    let of_other =
        |tokens| book.charge(Some("other"), "n", 0, &tokens).map(|of| (of.cost, of.model));
    assert_eq!(of_other(sent(1)), Ok((amount("7"), "other/n")));
    assert_eq!(of_other(said), Err(Unpriced::NoTokenPrice));
    let capitals = book.charge(Some("OTHER"), "n", 0, &sent(1)).map(|of| of.model);
    assert_eq!(capitals, Ok("other/n"));
    book.begin_list();
    book.add("n", listed(None, None, "6"));
    book.finish();
    let of_other = |tokens| book.charge(Some("other"), "n", 0, &tokens).map(|of| of.cost);
    assert_eq!(of_other(said), Ok(amount("12")));
    assert_eq!(book.longest(), Some(("n", 3)));
}

#[test]
fn case_does_not_matter_and_a_model_may_name_its_provider() {
    let mut book = PriceBook::default();
    let of = |provider: &str, price| Listed {
        provider: Some(provider.to_owned()),
        ..listed(None, None, price)
    };
    book.begin_list();
    book.add("g-5", of("openai", "1"));
    book.add("g-5", of("azure", "2"));
    book.add("openai/full", listed(None, None, "3"));
    book.add("Case", listed(None, None, "4"));
    book.add("case", listed(None, None, "5"));
    let batch = rates(&[("input_cost_per_token", "6"), ("input_cost_per_token_batches", "7")]);
    book.add("t", Listed { rates: batch, ..listed(None, None, "6") });
    book.finish();
    let cost = |provider, model| {
        let charged = book.charge(provider, model, 0, &sent(1));
        charged.map(|of| (of.cost.to_string(), of.model, of.listed.provider.clone()))
    };
    let is = |price: &str, name, provider: Option<&str>| {
        Ok((format!("{price}.00"), name, provider.map(str::to_owned)))
    };
    for (provider, model) in [
        (Some("openai"), "g-5"),
        (Some("OpenAI"), "G-5"),
        (None, "openai/g-5"),
        (None, "OpenAI/G-5"),
        (Some("openai"), "openai/g-5"),
        (Some("openrouter"), "openrouter/openai/g-5"),
    ] {
        assert_eq!(cost(provider, model), is("1", "g-5", Some("openai")), "{provider:?} {model}");
    }
    assert_eq!(cost(None, "Azure/g-5"), is("2", "g-5", Some("azure")));
    assert_eq!(cost(Some("OPENAI"), "Full"), is("3", "openai/full", None));
    // An exact spelling wins over names that differ only in case.
    assert_eq!(
        (cost(None, "Case"), cost(None, "case")),
        (is("4", "Case", None), is("5", "case", None))
    );
    assert_eq!(cost(None, "CASE"), Err(Unpriced::SeveralPrices));
    assert_eq!(cost(None, "openai/none"), Err(Unpriced::NotListed));
    let tier = |tier| {
        let tokens = Tokens { tier, ..sent(1) };
        book.charge(None, "t", 0, &tokens).map(|of| (of.cost, of.tier.map(str::to_owned)))
    };
    assert_eq!(tier("Batches"), Ok((amount("7"), Some("batches".to_owned()))));
    assert_eq!(tier("other"), Ok((amount("6"), None)));
    assert!(book.knows(None, "OpenAI/G-5") && book.knows(Some("x"), "t") && !book.knows(None, "u"));
}
