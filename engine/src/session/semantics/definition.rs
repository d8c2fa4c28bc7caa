//! Expressions of a spec as they are parsed, with the names of other measures and dimensions in them written out.
//!
//! All of it happens to what the parser gives, before anything is planned: so one text means the same in groups of GraphQL, which
//! are planned from it, and in a query of SQL, into which it is put. A quotient is [`SAFE_DIVIDE`], a remainder of nothing is null.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as Ast, ExprWithAlias, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use datasets::{DatasetSpec, did_you_mean};

use super::{MEASURE, Which};
use crate::error::{Error, Result};
use crate::functions::SAFE_DIVIDE;
use crate::session::arrows::bind_arrows_in;
use crate::session::parsing;
use crate::session::query::UNSTEADY;
use crate::session::sql::{Places, check_text, has_query};
use crate::session::walk::{self, Read, Write, call_name, identifier_name};

/// Words and signs of one expression.
const TOKENS_MAX: usize = 500;
/// Parts of one expression, with those of all that it names.
const PARTS_MAX: usize = 500;
/// How deep one names another that names another.
const DEPTH_MAX: usize = 8;

/// The measures and dimensions of a spec, by name.
pub(super) struct Definitions<'a> {
    spec: &'a DatasetSpec,
    columns: BTreeSet<String>,
    by_name: HashMap<&'a str, (Which, &'a str)>,
    /// As they were parsed.
    parsed: RefCell<HashMap<&'a str, Ast>>,
}

/// One that is written out.
#[derive(Clone)]
pub(super) struct Definition {
    /// Of columns alone.
    pub(super) ast: Ast,
    /// These.
    pub(super) columns: BTreeSet<String>,
}

impl<'a> Definitions<'a> {
    pub(super) fn of(spec: &'a DatasetSpec) -> Self {
        let fields = spec.arrow_schema();
        let dimensions = spec.dimensions.iter();
        let dimensions =
            dimensions.map(|it| (it.name.as_str(), (Which::Dimension, it.expression.as_str())));
        let measures = spec
            .measures
            .iter()
            .map(|it| (it.name.as_str(), (Which::Measure, it.expression.as_str())));
        Self {
            spec,
            columns: fields.fields().iter().map(|field| field.name().clone()).collect(),
            by_name: dimensions.chain(measures).collect(),
            parsed: RefCell::default(),
        }
    }

    /// The one of this name. Says what in it is no expression of the columns.
    pub(super) fn written_out(&self, name: &str) -> Result<Definition, String> {
        let Some((name, _)) = self.by_name.get_key_value(name) else {
            return Err(format!("{name:?} is neither a measure nor a dimension"));
        };
        let mut columns = BTreeSet::new();
        let ast = self.expanded(name, &mut Vec::new(), &mut 0, &mut columns)?;
        Ok(Definition { ast, columns })
    }

    fn expanded(
        &self,
        name: &'a str,
        inside: &mut Vec<&'a str>,
        parts: &mut usize,
        columns: &mut BTreeSet<String>,
    ) -> Result<Ast, String> {
        if let Some(at) = inside.iter().position(|outer| *outer == name) {
            let circle: Vec<&str> = inside[at..].iter().copied().chain([name]).collect();
            return Err(format!("it is made of itself: {}", circle.join(" is made of ")));
        }
        if inside.len() >= DEPTH_MAX {
            return Err(format!("expected names within names at most {DEPTH_MAX} deep"));
        }
        let mut ast = self.parsed(name)?;
        let is_measure = self.by_name.get(name).is_some_and(|(which, _)| *which == Which::Measure);
        let mut found = Found { definitions: self, is_measure, names: BTreeSet::new(), parts: 0 };
        walk::read(&ast, &mut found)?;
        *parts += found.parts;
        if *parts > PARTS_MAX {
            return Err(format!(
                "it has more than {PARTS_MAX} parts, with those of what it names; expected a shorter one"
            ));
        }
        let mut named = HashMap::new();
        inside.push(name);
        for name in found.names {
            match self.by_name.get_key_value(name.as_str()) {
                Some((other, _)) => {
                    let is_outermost = inside.len() == 1;
                    let inner = self.expanded(other, inside, parts, columns);
                    let inner = inner.map_err(|problem| match is_outermost {
                        true => format!("in {other:?}: {problem}"),
                        false => problem,
                    })?;
                    named.insert(name, inner);
                }
                None => {
                    columns.insert(name);
                }
            }
        }
        inside.pop();
        // What is named several times is written several times, and was counted once.
        let mut out = WrittenOut { named, parts: 0 };
        walk::write(&mut ast, &mut out);
        *parts = (*parts).max(out.parts);
        match *parts > PARTS_MAX {
            true => Err(format!(
                "it has {parts} parts, with those of what it names; expected at most {PARTS_MAX}"
            )),
            false => Ok(ast),
        }
    }

    fn parsed(&self, name: &'a str) -> Result<Ast, String> {
        if let Some(ast) = self.parsed.borrow().get(name) {
            return Ok(ast.clone());
        }
        let text = self.by_name.get(name).map_or("", |(_, text)| *text);
        let mut ast = parse(text)?;
        bind_arrows_in(&mut ast);
        self.parsed.borrow_mut().insert(name, ast.clone());
        Ok(ast)
    }

    /// What was meant by a name that nothing has.
    fn unknown(&self, name: &str) -> String {
        let others = self.by_name.keys().copied();
        let names = self.columns.iter().map(String::as_str).chain(others);
        let near = did_you_mean(name, names).unwrap_or_else(|| {
            let columns: Vec<&str> = self.columns.iter().take(8).map(String::as_str).collect();
            let more = if self.columns.len() > columns.len() { ", …" } else { "" };
            format!("{} has {}{more}", self.spec.name, columns.join(", "))
        });
        format!("{name:?} is no column; {near}")
    }
}

/// Reads one expression.
fn parse(text: &str) -> Result<Ast, String> {
    check_text(text).map_err(|error| error.to_string())?;
    if let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() {
        let count = tokens.iter().filter(|it| !matches!(it, Token::Whitespace(_))).count();
        if count > TOKENS_MAX {
            return Err(format!("expected at most {TOKENS_MAX} words and signs, found {count}"));
        }
    }
    if has_query(text) {
        return Err("queries are not taken here; expected an expression of columns".to_owned());
    }
    let read = parsing::expression(text);
    let ExprWithAlias { expr, alias } = read.map_err(|error| Error::from(error).to_string())?;
    match alias {
        Some(alias) => Err(format!("expected an expression, and no name for it, found AS {alias}")),
        None => Ok(expr),
    }
}

/// Whether a name can stand in SQL as it is.
pub(super) fn is_word(name: &str) -> bool {
    parsing::statement(&format!("SELECT {name}, {name} + 1 FROM t ORDER BY {name}")).is_ok()
}

/// The first name of what may be a column, or a part of one.
fn first_name(ast: &Ast) -> Option<&Ident> {
    match ast {
        Ast::Identifier(ident) => Some(ident),
        Ast::CompoundIdentifier(idents) => idents.first(),
        _ => None,
    }
}

/// What stands in an expression.
struct Found<'a, 'b> {
    definitions: &'a Definitions<'b>,
    is_measure: bool,
    names: BTreeSet<String>,
    parts: usize,
}

impl Read for Found<'_, '_> {
    fn expr(&mut self, expr: &Ast) -> Result<(), String> {
        self.parts += 1;
        match expr {
            Ast::Function(call) => {
                let name = call_name(call);
                if UNSTEADY.contains(&name) {
                    return Err(format!(
                        "{name}() gives another value each time, and the same rows are to give the same"
                    ));
                }
                if call.over.is_some() {
                    return Err(format!(
                        "{name}() over a window is not taken here; expected values of a row{}",
                        if self.is_measure { ", and aggregates of them" } else { "" }
                    ));
                }
                if name == MEASURE {
                    return Err(format!("{name}() is not needed here; expected the name alone"));
                }
                if name == "grouping" {
                    return Err("grouping() is of queries, and not of rows".to_owned());
                }
            }
            Ast::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                return Err(format!("{value} has no value here"));
            }
            part => {
                let Some(ident) = first_name(part) else { return Ok(()) };
                let name = identifier_name(ident);
                match self.definitions.by_name.get(name.as_str()) {
                    _ if self.definitions.columns.contains(&name) => {}
                    Some(_) if matches!(part, Ast::CompoundIdentifier(_)) => {
                        return Err(format!("{name:?} has no parts, found {part}"));
                    }
                    Some((Which::Measure, _)) if !self.is_measure => {
                        return Err(format!(
                            "{name:?} is a measure, and a dimension is made of one row"
                        ));
                    }
                    Some(_) => {}
                    None => return Err(self.definitions.unknown(&name)),
                }
                self.names.insert(name);
            }
        }
        Ok(())
    }
}

/// Puts what names stand for in their places.
struct WrittenOut {
    named: HashMap<String, Ast>,
    parts: usize,
}

impl Write for WrittenOut {
    fn expr(&mut self, expr: &mut Ast) {
        self.parts += 1;
        match expr {
            Ast::Identifier(ident) => {
                if let Some(named) = self.named.get(&identifier_name(ident)) {
                    let mut inner = Counted(0);
                    // Counting has no errors.
                    let _ = walk::read(named, &mut inner);
                    self.parts += inner.0;
                    // Not more than is refused.
                    if self.parts <= PARTS_MAX {
                        *expr = Ast::Nested(Box::new(named.clone()));
                    }
                }
            }
            other => make_safe(other),
        }
    }
}

/// Makes a quotient what it is in measures, and a remainder of nothing null.
fn make_safe(expr: &mut Ast) {
    match expr {
        Ast::BinaryOp { left, op, right } if *op == BinaryOperator::Divide => {
            *expr = called(SAFE_DIVIDE, [taken(left), taken(right)]);
        }
        Ast::BinaryOp { op, right, .. } if *op == BinaryOperator::Modulo => {
            let zero = Ast::Value(Value::Number("0".to_owned(), false).into());
            **right = called("nullif", [taken(right), zero]);
        }
        _ => {}
    }
}

/// The same of all that stands in an expression.
pub(in crate::session) fn with_safe_quotients(expr: &mut Ast) {
    struct Safe;
    impl Write for Safe {
        fn expr(&mut self, expr: &mut Ast) {
            make_safe(expr);
        }
    }
    walk::write(expr, &mut Safe);
}

/// How many parts there are.
struct Counted(usize);

impl Read for Counted {
    fn expr(&mut self, _: &Ast) -> Result<(), String> {
        self.0 += 1;
        Ok(())
    }
}

fn taken(expr: &mut Ast) -> Ast {
    std::mem::replace(expr, Ast::Value(Value::Null.into()))
}

fn called(name: &str, arguments: [Ast; 2]) -> Ast {
    let args = arguments.map(|of| FunctionArg::Unnamed(FunctionArgExpr::Expr(of))).into();
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() };
    Ast::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `text` with the column `from` called `to`; all else stays as it is written.
pub(super) fn renamed(text: &str, from: &str, to: &str) -> String {
    let Ok(ast) = parse(text) else { return text.to_owned() };
    struct Spots<'a> {
        from: &'a str,
        found: BTreeSet<(usize, usize)>,
        places: Places<'a>,
    }
    impl Read for Spots<'_> {
        fn expr(&mut self, expr: &Ast) -> Result<(), String> {
            if let Some(ident) =
                first_name(expr).filter(|ident| identifier_name(ident) == self.from)
            {
                let (start, end) = (ident.span.start, ident.span.end);
                self.found.insert((self.places.byte(start), self.places.byte(end)));
            }
            Ok(())
        }
    }
    let mut spots = Spots { from, found: BTreeSet::new(), places: Places::of(text) };
    // Looking has no errors.
    let _ = walk::read(&ast, &mut spots);
    let to = if is_word(to) { to.to_owned() } else { format!("\"{to}\"") };
    let mut text = text.to_owned();
    for (start, end) in spots.found.into_iter().rev() {
        if start < end && end <= text.len() {
            text.replace_range(start..end, &to);
        }
    }
    text
}
