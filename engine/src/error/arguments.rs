//! Internal errors of DataFusion that the query causes, by arguments which a function does not check.

/// The message for an internal error of DataFusion that a function's arguments cause; `None` for any other error.
pub(crate) fn of_arguments(text: &str) -> Option<&'static str> {
    const CAUSED: [(&str, &str); 5] = [
        (
            "could not cast array of type List(",
            "expected a list of numbers, found a list of lists; flatten(…) makes it flat",
        ),
        (
            "array_resize: failed to convert size to usize",
            "array_resize: expected a size of at least 0, found a negative number",
        ),
        (
            "Nth value indices are 1 based",
            "nth_value: expected a place of at least 1, or below 0 to count from the end, found 0",
        ),
        (
            "Uncomparable values",
            "min, max: lists with NULL among their items have no order; expected numbers, texts or instants",
        ),
        (
            "Min/Max accumulator not implemented",
            "min, max: values of this type have no order; expected numbers, texts or instants",
        ),
    ];
    CAUSED.iter().find(|(form, _)| text.contains(form)).map(|(_, says)| *says)
}
