#!/usr/bin/env bash
# Reports as PDF, too: tests and lints with the feature, then each ready report of the demo's data as HTML and as PDF in A4 and Letter, whose
# sizes, pages, texts and fonts poppler-utils tell. PAGES=folder keeps the pages.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --locked --features pdf --package colonnade --package reports --all-targets -- -D warnings
cargo test --locked --features pdf --package colonnade --package reports
cargo build --locked --features pdf
binary=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/colonnade
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
pages=${PAGES:-$scratch/pages}
mkdir -p "$pages"

failed() {
    echo "$1" >&2
    exit 1
}

"$binary" demo --data "$scratch/data" --rows 20000 --no-serve --log error >"$scratch/demo.txt"
"$binary" report >"$scratch/ready.txt"
names=$(cut -d: -f1 "$scratch/ready.txt")
[[ $(wc -w <<<"$names") = 3 ]] || failed "expected three reports that are ready, found: $names"
for name in $names; do
    "$binary" report "$name" --data "$scratch/data" --overwrite --to "$pages/$name.html" --to "$pages/$name-a4.pdf" --paper a4
    "$binary" report "$name" --data "$scratch/data" --overwrite --to "$pages/$name-letter.pdf" --paper letter
    "$binary" report "$name" --show >"$scratch/template.toml"
    title=$(sed -n 's/^title = "\(.*\)"$/\1/p' "$scratch/template.toml" | head -1)
    grep -q "<h1>$title</h1>" "$pages/$name.html" || failed "$name.html: its title is not $title"
    for paper in "a4 595.276 x 841.89" "letter 612 x 792"; do
        file=$pages/$name-${paper%% *}
        pdfinfo "$file.pdf" >"$scratch/info.txt" 2>/dev/null
        grep -q "^Page size: *${paper#* }" "$scratch/info.txt" || failed "$file.pdf: its pages are of another size"
        count=$(sed -n 's/^Pages: *//p' "$scratch/info.txt")
        pdftotext "$file.pdf" "$scratch/text.txt" 2>/dev/null
        grep -q "^$title$" "$scratch/text.txt" || failed "$file.pdf: its title is not $title"
        grep -q "Page $count of $count" "$scratch/text.txt" || failed "$file.pdf: its last page has no number"
        pdffonts "$file.pdf" 2>/dev/null | tail -n +3 | awk '{ print $(NF - 4) }' >"$scratch/embedded.txt"
        [[ $(sort -u "$scratch/embedded.txt") = yes ]] || failed "$file.pdf: a font is not embedded, or there is none"
        pdftoppm -r 60 -png "$file.pdf" "$file" 2>/dev/null
        echo "$name: $count pages of ${paper%% *}, fonts embedded"
    done
done
