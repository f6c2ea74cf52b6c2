#!/usr/bin/env bash
# Checks and measures the program on a GPU, with what scripts/gpu-build.sh built: first whether it computes
# what the processor computes, then how fast. Builds nothing. Writes one table.
#
#   scripts/gpu-check.sh [STEP ...]
#
#   tests      every kernel against its definition
#   doctor     whole networks against the processor; speed of products and of memory
#   loss       500 updates of a small Transformer on both, in f32: the same loss within 1 %
#   half       200 updates in bf16 against f32 on the GPU: the same loss within 2 %
#   resume     a run begun on the processor goes on on the GPU, and the other way round
#   translate  a model trained there translates on both: the same text in f32, nearly the same in bf16;
#              alone as in batches
#   speed      tokens/s of training: shape B, and Transformer-big, in bf16
#   decode     tokens/s of translating: shape B with a beam of 5, batches of 64 and 256 sentences, bf16
#   memory     a batch that is too large is computed in parts
#
# Without a step all of them, in that order. Each takes a few minutes on an H200.
#
#   DIR=gpu-check    what was built
#   OUT=DIR/out      where the runs and results.txt go
#   DEVICE=cuda      where to compute; `cpu` tries the script itself
#   UPDATES=500      of the comparison of losses
set -euo pipefail
dir=${DIR:-gpu-check}
out=${OUT:-$dir/out}
device=${DEVICE:-cuda}
updates=${UPDATES:-500}
nmt=$dir/nmt
mkdir -p "$out"
results=$out/results.txt
failed=0

# A line of the table: what, what was found, what was wanted, and whether it is so.
row() {
    printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" | tee -a "$results"
    [ "$4" = ok ] || [ "$4" = "–" ] || failed=1
}

# An experiment on the bundled corpus: NAME, then lines of [model.transformer] and of [training].
experiment() {
    local name=$1 model=$2 training=$3
    if [ ! -s "$out/train.tsv" ]; then
        head -n 500 "$dir/corpus.tsv" > "$out/valid.tsv"
        tail -n +501 "$dir/corpus.tsv" > "$out/train.tsv"
    fi
    cat > "$out/$name.toml" <<END
seed = 1
[data]
src = "en"
tgt = "es"
train = [{ tsv = "$out/train.tsv" }]
valid = { tsv = "$out/valid.tsv" }
[tokenizer]
kind = "bpe"
vocab = 8000
joint = true
[model.transformer]
tie = "all"
$model
[training]
optimizer = { adam = { betas = [0.9, 0.98], eps = 1e-9 } }
label_smoothing = 0.1
clip_norm = 1.0
$training
END
}

small='dim = 128
heads = 4
ffn_dim = 256
encoder_layers = 4
decoder_layers = 4
dropout = 0.1'

# Trains: NAME, DEVICE, then options.
train() {
    local name=$1 on=$2
    shift 2
    rm -rf "$out/run-$name-$on"
    "$nmt" train "$out/$name.toml" --out "$out/run-$name-$on" --device "$on" "$@" \
        > "$out/$name-$on.log" 2>&1 || { tail -n 20 "$out/$name-$on.log"; return 1; }
}

# The last number of a column of a run's metrics.csv: RUN, SET (train or valid), COLUMN.
metric() {
    awk -F, -v set="$2" -v name="$3" '
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
        $column["set"] == set && $column[name] != "" { last = $column[name] }
        END { print last }' "$out/$1/metrics.csv"
}

# Whether two numbers differ by at most so many per cent.
close() {
    awk -v a="$1" -v b="$2" -v most="$3" \
        'BEGIN { if (a + 0 == 0 || b + 0 == 0) exit 1
            d = 100 * (a / b - 1); if (d < 0) d = -d; exit !(d <= most) }' && echo ok || echo FAILED
}

tests() {
    local test
    for test in "$dir"/gpu*-* "$dir"/optimizer-*; do
        [ -x "$test" ] || continue
        if "$test" --test-threads 1 > "$out/$(basename "$test").log" 2>&1; then
            row "$(basename "$test")" "$(grep -o '[0-9]* passed' "$out/$(basename "$test").log")" "all" ok
        else
            tail -n 30 "$out/$(basename "$test").log"
            row "$(basename "$test")" "$(grep -o '[0-9]* failed' "$out/$(basename "$test").log" || true)" none FAILED
        fi
    done
}

doctor() {
    local verdict=ok
    "$nmt" doctor --device "$device" > "$out/doctor.txt" 2>&1 || verdict=FAILED
    cat "$out/doctor.txt"
    row "doctor" "$(grep -c right "$out/doctor.txt") right" "none wrong" "$verdict"
}

loss() {
    experiment loss "$small" "updates = $updates
batch_tokens = 4096
lr = 0.003
schedule = { cosine = { warmup = $((updates / 5)), total = $updates } }
report_every = 50
validate_every = $updates"
    train loss cpu && train loss "$device" || return 1
    local a b
    a=$(metric run-loss-cpu valid loss_nats_per_token)
    b=$(metric "run-loss-$device" valid loss_nats_per_token)
    row "validation loss after $updates updates, f32: processor, GPU" "$a, $b" "within 1 %" "$(close "$a" "$b" 1)"
}

half() {
    local n=$((updates * 2 / 5))
    for precision in f32 bf16; do
        experiment "half-$precision" "$small" "updates = $n
batch_tokens = 4096
lr = 0.003
precision = \"$precision\"
schedule = { cosine = { warmup = $((n / 4)), total = $n } }
report_every = 50
validate_every = $n"
        train "half-$precision" "$device" || return 1
    done
    local a b
    a=$(metric "run-half-f32-$device" valid loss_nats_per_token)
    b=$(metric "run-half-bf16-$device" valid loss_nats_per_token)
    row "validation loss after $n updates: f32, bf16" "$a, $b" "within 2 %" "$(close "$a" "$b" 2)"
}

resume() {
    experiment resume "$small" "updates = 60
batch_tokens = 2048
lr = 0.001
report_every = 10
validate_every = 20"
    local from to a b
    train resume cpu || return 1
    a=$(metric run-resume-cpu valid loss_nats_per_token)
    for from in cpu "$device"; do
        to=$device
        [ "$from" = cpu ] || to=cpu
        rm -rf "$out/run-crossed"
        "$nmt" train "$out/resume.toml" --out "$out/run-crossed" --device "$from" \
            --set training.updates=30 > "$out/crossed.log" 2>&1 || return 1
        "$nmt" train --resume --out "$out/run-crossed" --device "$to" \
            --set training.updates=60 >> "$out/crossed.log" 2>&1 || return 1
        b=$(metric run-crossed valid loss_nats_per_token)
        row "begun on $from, ended on $to: validation loss" "$b" "$a within 1 %" "$(close "$b" "$a" 1)"
    done
}

speed() {
    local shape dim heads ffn
    for shape in B big; do
        case $shape in
            B) dim=512 heads=8 ffn=2048 ;;
            big) dim=1024 heads=16 ffn=4096 ;;
        esac
        experiment "speed-$shape" "dim = $dim
heads = $heads
ffn_dim = $ffn
encoder_layers = 6
decoder_layers = 6
dropout = 0.1" "updates = 120
batch_tokens = 32768
lr = 0.0005
precision = \"bf16\"
report_every = 20
validate_every = 120"
        train "speed-$shape" "$device" || return 1
        row "training $shape, 32,768 tokens a batch, bf16: target tokens/s" \
            "$(metric "run-speed-$shape-$device" train target_tokens_per_second)" "docs/experiments.md" "–"
    done
}

# Translates 500 sentences: NAME of the output, MODEL, DEVICE, then options.
translate() {
    local name=$1 model=$2 on=$3
    shift 3
    cut -f 1 "$out/valid.tsv" > "$out/valid.en"
    "$nmt" translate "$model" "$out/valid.en" --device "$on" "$@" > "$out/$name.es" 2> "$out/$name.log" \
        || { tail -n 20 "$out/$name.log"; return 1; }
}

# How many lines of two files are the same.
same() {
    paste -d '\n' "$out/$1.es" "$out/$2.es" | awk 'NR % 2 { a = $0; next } { n += a == $0 } END { print n + 0 }'
}

translated() {
    local n=$((updates * 2 / 5)) model
    experiment translate "$small" "updates = $n
batch_tokens = 4096
lr = 0.003
schedule = { cosine = { warmup = $((n / 4)), total = $n } }
report_every = 50
validate_every = $n"
    train translate "$device" || return 1
    model=$out/run-translate-$device/averaged
    [ -d "$model" ] || model=$out/run-translate-$device/best
    translate on-cpu "$model" cpu || return 1
    translate on-gpu "$model" "$device" || return 1
    translate on-gpu-alone "$model" "$device" --batch-tokens 1 || return 1
    translate on-gpu-half "$model" "$device" --precision bf16 || return 1
    translate on-gpu-half-alone "$model" "$device" --precision bf16 --batch-tokens 1 || return 1
    local lines found
    lines=$(wc -l < "$out/valid.en")
    found=$(same on-cpu on-gpu)
    row "translations, f32: the same on processor and GPU" "$found of $lines" "99 %" \
        "$([ $((found * 100)) -ge $((lines * 99)) ] && echo ok || echo FAILED)"
    found=$(same on-cpu on-gpu-half)
    row "translations, bf16: those of f32 on the processor" "$found of $lines" "" "–"
    for kind in on-gpu on-gpu-half; do
        found=$(same "$kind" "$kind-alone")
        row "translations of $kind: the same one at a time" "$found of $lines" "all" \
            "$([ "$found" = "$lines" ] && echo ok || echo FAILED)"
    done
}

decode() {
    experiment decode "dim = 512
heads = 8
ffn_dim = 2048
encoder_layers = 6
decoder_layers = 6" "updates = 1
batch_tokens = 4096
validate_every = 1"
    train decode "$device" || return 1
    local batch model=$out/run-decode-$device/best
    for _ in 1 2 3 4 5 6 7 8; do cut -f 1 "$out/valid.tsv"; done > "$out/many.en"
    # Sentences of like length are put together: about 12 tokens each.
    for batch in 64 256; do
        "$nmt" translate "$model" "$out/many.en" --device "$device" --precision bf16 --beam 5 \
            --min-len 24 --batch-tokens $((batch * 12)) --read-ahead 4000 --out "$out/many.es" \
            2> "$out/decode-$batch.log" || { tail -n 20 "$out/decode-$batch.log"; return 1; }
        row "translating with B, beam 5, batches of about $batch sentences, bf16" \
            "$(grep '^done' "$out/decode-$batch.log")" "docs/experiments.md" "–"
    done
}

memory() {
    experiment memory "$small" "updates = 3
batch_tokens = 4000000
lr = 0.001
report_every = 1
validate_every = 3"
    train memory "$device" || return 1
    row "a batch of 4,000,000 tokens" \
        "$(grep -o 'in [0-9]* parts' "$out/memory-$device.log" | tail -n 1 || true)" "trains" ok
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(tests doctor loss half resume translate speed decode memory)
echo "| check | found | wanted | |" | tee -a "$results"
echo "|---|---|---|---|" | tee -a "$results"
for step in "${steps[@]}"; do
    case $step in
        translate) translated || row "$step" "ended with an error" "" FAILED ;;
        tests | doctor | loss | half | resume | speed | decode | memory) "$step" || row "$step" "ended with an error" "" FAILED ;;
        *) echo "unknown step $step" >&2; exit 2 ;;
    esac
done
exit $failed
