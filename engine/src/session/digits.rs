//! Numbers with a point beside decimals, as in `price * 1.19`: they are read as the decimals that they are written as. Read as floats,
//! as everywhere else, they would make a float of the price, whose cents are not those of a calculation by hand.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Digits of a decimal.
const DIGITS_MAX: usize = 38;

/// The rule.
#[derive(Debug)]
pub(super) struct DecimalDigits;

impl ExprPlanner for DecimalDigits {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator as Op;
        let keeps_digits = matches!(expr.op, Op::Plus | Op::Minus | Op::Multiply | Op::Modulo);
        if keeps_digits {
            let is_decimal = |expr: &Expr| expr.get_type(schema).is_ok_and(|of| of.is_decimal());
            if let Some(exact) = exact(&expr.right).filter(|_| is_decimal(&expr.left)) {
                expr.right = exact;
            } else if let Some(exact) = exact(&expr.left).filter(|_| is_decimal(&expr.right)) {
                expr.left = exact;
            }
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// A float that stands in a query as the decimal of the fewest digits that is read as the same float.
fn exact(expr: &Expr) -> Option<Expr> {
    let (value, sign) = match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => (*value, 1),
        Expr::Negative(inner) => match inner.as_ref() {
            Expr::Literal(ScalarValue::Float64(Some(value)), _) => (*value, -1),
            _ => return None,
        },
        _ => return None,
    };
    if !value.is_finite() {
        return None;
    }
    let text = value.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = whole.trim_start_matches('0').len() + fraction.len();
    if digits > DIGITS_MAX {
        return None;
    }
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    let number = if value < 0.0 { -number } else { number } * sign;
    let (precision, scale) =
        (u8::try_from(digits.max(1)).ok()?, i8::try_from(fraction.len()).ok()?);
    Some(Expr::Literal(ScalarValue::Decimal128(Some(number), precision, scale), None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::logical_expr::lit;

    use super::*;

    #[test]
    fn a_number_is_as_it_is_written() {
        let of = |value: f64| match exact(&lit(value)) {
            Some(Expr::Literal(ScalarValue::Decimal128(Some(number), precision, scale), _)) => {
                Some((number, precision, scale))
            }
            _ => None,
        };
        assert_eq!(of(1.19), Some((119, 3, 2)));
        assert_eq!(of(-0.5), Some((-5, 1, 1)));
        assert_eq!(of(0.0), Some((0, 1, 0)));
        assert_eq!(of(0.001), Some((1, 3, 3)));
        assert_eq!(of(1e300), None);
        assert_eq!(of(f64::NAN), None);
        let negative = Expr::Negative(Box::new(lit(2.5)));
        assert!(matches!(
            exact(&negative),
            Some(Expr::Literal(ScalarValue::Decimal128(Some(-25), 2, 1), _))
        ));
        assert!(exact(&lit(2_i64)).is_none());
    }
}
