//! Rows as a producer makes them: plain, valid, and told apart by their numbers.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::ipc::writer::StreamWriter;
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z
const BEGIN_US: i64 = 1_767_225_600_000_000;
const MODELS: [&str; 3] = ["small-1", "large-2", "vision-3"];

/// Rows as lines of JSON.
pub fn ndjson(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Model calls with ids from `first` on.
pub fn model_calls(first: u64, count: u64) -> Vec<Value> {
    (first..first + count).map(model_call).collect()
}

fn model_call(n: u64) -> Value {
    let second = n % 86_400;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    json!({
        "id": format!("call-{n:012}"),
        "at": format!("2026-01-01T{hour:02}:{minute:02}:{:02}.{:06}Z", second % 60, n % 1_000_000),
        "user_id": format!("user-{}", n % 997),
        "agent_id": format!("agent-{}", n % 13),
        "provider": "example",
        "model": MODELS[(n % 3) as usize],
        "operation": "chat",
        "input_tokens": 100 + n % 3_000,
        "output_tokens": 10 + n % 500,
        "latency_ms": 50.0 + (n % 2_000) as f64,
        "status": "ok",
    })
}

/// The same rows as one Arrow stream.
pub fn model_calls_arrow(first: u64, count: u64) -> Vec<u8> {
    let numbers = || first..first + count;
    let text = |f: fn(u64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(numbers().map(f)))
    };
    let whole = |f: fn(u64) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(numbers().map(f)))
    };
    let at = TimestampMicrosecondArray::from_iter_values(
        numbers().map(|n| BEGIN_US + (n % 86_400) as i64 * 1_000_000 + (n % 1_000_000) as i64),
    );
    let latency = Float64Array::from_iter_values(numbers().map(|n| 50.0 + (n % 2_000) as f64));
    let columns: [(&str, ArrayRef); 11] = [
        ("id", text(|n| format!("call-{n:012}"))),
        ("at", Arc::new(at.with_timezone("UTC"))),
        ("user_id", text(|n| format!("user-{}", n % 997))),
        ("agent_id", text(|n| format!("agent-{}", n % 13))),
        ("provider", text(|_| "example".to_owned())),
        ("model", text(|n| MODELS[(n % 3) as usize].to_owned())),
        ("operation", text(|_| "chat".to_owned())),
        ("input_tokens", whole(|n| 100 + (n % 3_000) as i64)),
        ("output_tokens", whole(|n| 10 + (n % 500) as i64)),
        ("latency_ms", Arc::new(latency)),
        ("status", text(|_| "ok".to_owned())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}
