#!/usr/bin/env bash
# Self-supervised speaker verification with SDPN (arXiv 2308.02774), from recordings to a table of error rates.
# `./run.sh --stage 0 --stop-stage 6` runs it all; `./run.sh --help` lists the options.

set -euo pipefail

stage=0
stop_stage=6
corpus=
corpus_dir=
voxceleb1=
voxceleb2=
voxceleb_trials=
cnceleb1=
cnceleb2=
train=
eval=
trials=
enroll_map=
eval_share=
labelled=false
unlabelled=false
allow_pipes=false
musan=
rirs=
noise_dir=
music_dir=
rir_dir=
download=false
dev_speakers=0
min_duration=
max_skipped=
trim_silence=false
data_dir=data
exp_dir=
config=
feats_type=ark
augment=
nj=$(nproc 2>/dev/null || echo 1)
ngpu=
seed=1
backends=
score_norm=
baselines=
calibration=

usage() {
    cat <<EOF
usage: ./run.sh [--option value ...]

Stages
  0  prepare the corpus: manifests and trial lists       4  train SDPN
  1  cuts; the training set loses its speaker labels     5  extract x-vectors
  2  fbank, cached                                       6  score with every back-end, show the results
  3  reverberated copies and noise banks, cached
  --stage N           first stage to run (default: $stage)
  --stop-stage N      last stage to run (default: $stop_stage)

What to run on
  --corpus NAME       folder: your recordings; kaldi, lhotse, voxceleb, cnceleb; toy: speech synthesized on the spot
                      (default: what the data folder holds, with the options of its first time; else toy)
  --corpus-dir DIR    folder: any tree of recordings, or DIR/train and DIR/eval*/speaker/...
  --unlabelled        folder: the folders directly below are no speakers; --labelled: they are (default: as they look)
  --voxceleb1 DIR     voxceleb: evaluated, with the official trial lists, which lie there or are downloaded
  --voxceleb2 DIR     voxceleb: trained on (its dev part)
  --voxceleb-trials L voxceleb: which of the lists O, E, H (default: all)
  --cnceleb1 DIR      cnceleb: CN-Celeb_flac; its trials are evaluated
  --cnceleb2 DIR      cnceleb: CN-Celeb2_flac, trained on as well
  --train PATH        kaldi: a data directory; lhotse: a manifest of cuts, a folder of manifests, or a Shar folder
  --eval PATH[,PATH]  kaldi, lhotse: evaluation sets
  --eval-share SHARE  folder, kaldi, lhotse: of the speakers, held out where there is no evaluation set and the training
                      set has labels (default: 0.2; 0: all are trained on)
  --trials FILE       all but toy: "enroll test target|nontarget" (or "1 enroll test") lines; voxceleb, cnceleb: one list
                      more, such as VoxSRC's; made where not given
  --enroll-map FILE   "model utterance utterance ..." lines for the enrolled names of --trials
  --allow-pipes       kaldi, lhotse: run the commands that stand in the place of files
  --dev-speakers N    training speakers held out to choose settings on: as the sets dev and, in rooms and noises that
                      training lacks, dev_far (default: $dev_speakers)
  --musan DIR         all but toy: noises, music, speech for babble (openslr.org/17)
  --rirs DIR          RIRS_NOISES (openslr.org/28)
  --noise-dir DIR     noises, music, room impulse responses of your own;
  --music-dir DIR     synthetic ones serve where none are given
  --rir-dir DIR
  --download          voxceleb, cnceleb: fetch what may be had without a password and is not given (lists, MUSAN, ...)
  --min-duration S    shorter training utterances are left out (default: 2 for voxceleb, else that of conf/cuts.yaml)
  --max-skipped SHARE of a set that may be unusable or too short (default: that of conf/cuts.yaml; 0.5 for cnceleb,
                      which has many short ones)
  --trim-silence      cut off silence at both ends of utterances

Where it goes
  --data-dir DIR      manifests and features; local/combine.py makes one of several (default: $data_dir)
  --exp-dir DIR       model, x-vectors, scores, results (default: exp/<corpus>)

How
  --config FILE       training settings (default: conf/sdpn/paper.yaml for voxceleb and cnceleb, toy.yaml for toy, else
                      small.yaml)
  --feats-type TYPE   ark or hdf5 (default: $feats_type)
  --augment MODE      mel, waveform or off (default: as conf/augment.yaml says)
  --backends LIST     of conf/backend/*.yaml; oracle-NAME learns from labels (default: as conf/backend.yaml says)
  --score-norm LIST   none, z, t, s, as, as2 (default: as conf/backend.yaml says)
  --baselines LIST    rows for comparison, fbank-stats, untrained or none (default: both); stage 5 makes no x-vectors of
                      the untrained network that are not asked for
  --calibration WHAT  clusters, none, or with labels a trial list of the results or a file of trials over the utterances
                      of one set (default: as conf/backend.yaml says)
  --nj N              parallel jobs (default: the number of cores, $nj here)
  --ngpu N            GPUs (default: 1 where nvidia-smi lists one, else 0)
  --seed N            (default: $seed)

A finished piece of work is not done again: run the same command once more after an interruption and it goes on.
Every program in local/ and steps/ has its own --help and takes every setting of its conf file as --name value.
EOF
}

fail() {
    echo "run.sh: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    name=${1#--}
    name=${name//-/_}
    case $name in
    stage | stop_stage | corpus | corpus_dir | voxceleb1 | voxceleb2 | voxceleb_trials | cnceleb1 | cnceleb2 | train | \
        eval | eval_share | trials | enroll_map | musan | rirs | noise_dir | music_dir | rir_dir | dev_speakers | \
        min_duration | max_skipped | data_dir | exp_dir | config | feats_type | augment | nj | ngpu | seed | backends | score_norm | \
        baselines | calibration) ;;
    download | allow_pipes | trim_silence | labelled | unlabelled)
        [ "$1" != "$name" ] || fail "'$1' is not an option; did you mean --${1//_/-}?"
        printf -v "$name" true
        shift
        continue
        ;;
    *) fail "unknown option '$1'; ./run.sh --help lists the options" ;;
    esac
    [ "$1" != "$name" ] || fail "'$1' is not an option; did you mean --$1?"
    [[ $# -ge 2 && -n $2 && $2 != -* ]] || fail "the option $1 needs a value"
    printf -v "$name" '%s' "$2"
    shift 2
done

# What can be refused without Python is refused before anything is installed
for name in stage stop_stage nj seed dev_speakers ${ngpu:+ngpu}; do
    [[ ${!name} =~ ^[0-9]{1,9}$ ]] || fail "--${name//_/-} is '${!name}'; expected a whole number of at most 9 digits"
    printf -v "$name" '%d' "$((10#${!name}))"
done
[ "$stop_stage" -le 6 ] || fail "--stop-stage is $stop_stage; the last stage is 6"
[ "$stage" -le "$stop_stage" ] || fail "--stage $stage comes after --stop-stage $stop_stage"
[ "$nj" -ge 1 ] || fail "--nj is 0; expected at least 1"
case $augment in "" | mel | waveform | off) ;; *) fail "--augment is '$augment'; allowed: mel, waveform, off" ;; esac
case $feats_type in ark | hdf5) ;; *) fail "--feats-type is '$feats_type'; allowed: ark, hdf5" ;; esac
[ "$labelled$unlabelled" != truetrue ] || fail "--labelled and --unlabelled contradict each other"
# A corpus that is there need not be named again; what it is of stands in corpus.json
again=false
dev_given=() && if [ "$dev_speakers" -ne 0 ]; then dev_given=(--dev-speakers "$dev_speakers"); fi
if [ -z "$corpus" ] && [ -f "$data_dir/corpus.json" ]; then
    again=true
    corpus=$(sed -n 's/^  "name": "\([a-z]*\)",$/\1/p' "$data_dir/corpus.json")
    if [ "$dev_speakers" -eq 0 ]; then
        dev_speakers=$(sed -n 's/^    "dev_speakers": \([0-9]*\),*$/\1/p' "$data_dir/corpus.json")
        : "${dev_speakers:=0}"
    fi
elif [ -z "$corpus" ] && [ -d "$data_dir/headers" ]; then
    fail "$data_dir holds a corpus whose stage 0 was not finished: give --corpus and its options once more"
fi
: "${corpus:=toy}"
# What belongs to one kind of corpus is refused for another
clips="musan rirs noise_dir music_dir rir_dir"
needed=
case $corpus in
toy) own="" config=${config:-conf/sdpn/toy.yaml} ;;
folder) own="corpus_dir eval_share labelled unlabelled trials enroll_map $clips" needed=corpus_dir ;;
voxceleb)
    own="voxceleb1 voxceleb2 voxceleb_trials trials enroll_map download $clips" needed="voxceleb1 voxceleb2"
    config=${config:-conf/sdpn/paper.yaml} min_duration=${min_duration:-2}
    ;;
cnceleb)
    own="cnceleb1 cnceleb2 trials enroll_map download $clips" needed=$([ "$download" = true ] || echo cnceleb1)
    config=${config:-conf/sdpn/paper.yaml} max_skipped=${max_skipped:-0.5}
    ;;
kaldi | lhotse) own="train eval eval_share trials enroll_map allow_pipes $clips" needed=train ;;
combined)
    own=""
    [ "$again" = true ] || fail "local/combine.py makes a combined corpus: name its folder with --data-dir"
    ;;
*) fail "--corpus is '$corpus'; allowed: toy, voxceleb, cnceleb, kaldi, lhotse, folder" ;;
esac
: "${config:=conf/sdpn/small.yaml}"
for name in corpus_dir voxceleb1 voxceleb2 voxceleb_trials cnceleb1 cnceleb2 train eval eval_share labelled unlabelled \
    trials enroll_map allow_pipes download $clips; do
    [[ " $own " = *" $name "* || -z ${!name} || ${!name} = false ]] ||
        fail "--${name//_/-} does not go with --corpus $corpus"
done
if [ "$stage" -eq 0 ] && [ "$again" = false ]; then
    for name in $needed; do [ -n "${!name}" ] || fail "--corpus $corpus needs --${name//_/-}"; done
fi
: "${exp_dir:=exp/$corpus}"
if [ -z "$ngpu" ]; then ngpu=$(if nvidia-smi -L 2>/dev/null | grep -q GPU; then echo 1; else echo 0; fi); fi

# Paths given on the command line are relative to where it was typed
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
paths="corpus_dir voxceleb1 voxceleb2 cnceleb1 cnceleb2 train trials enroll_map $clips"
for name in $paths data_dir exp_dir config; do
    case ${!name} in
    "" | /*) ;;
    *) [ "$here" = "$PWD" ] || [[ $name = config && ! -e $here/$config ]] || printf -v "$name" '%s' "$here/${!name}" ;;
    esac
done
if [ "$here" != "$PWD" ]; then
    IFS=, read -ra sets <<<"$eval"
    eval=
    for set in ${sets[@]+"${sets[@]}"}; do
        case $set in /*) ;; *) set=$here/$set ;; esac
        eval=${eval:+$eval,}$set
    done
fi
case $calibration in
"" | clusters | none | /*) ;;
*) [ ! -f "$here/$calibration" ] || calibration=$here/$calibration ;;
esac
[ -f "$config" ] || fail "--config is '$config', which is not a file"
for name in trials enroll_map; do # pipes, such as <(grep ...) gives, will do: stage 0 keeps what comes out of them
    [ -z "${!name}" ] || { [ -e "${!name}" ] && [ ! -d "${!name}" ]; } ||
        fail "--${name//_/-} is '${!name}', which is not a file"
done
for name in corpus_dir voxceleb1 voxceleb2 cnceleb1 cnceleb2 $clips; do
    [ -z "${!name}" ] || [ -d "${!name}" ] || fail "--${name//_/-} is '${!name}', which is not a folder"
done

writable() { # whether a folder may be written, or made where it is not there yet
    local folder=$1
    while [ ! -e "$folder" ]; do folder=$(dirname "$folder"); done
    [ -d "$folder" ] && [ -w "$folder" ]
}
[ "$stage" -gt 3 ] || writable "$data_dir" || fail "--data-dir is '$data_dir', which may not be written"
[ "$stop_stage" -lt 4 ] || writable "$exp_dir" || fail "--exp-dir is '$exp_dir', which may not be written"

. ./path.sh
pipes=() && if [ "$allow_pipes" = true ]; then pipes=(--allow-pipes); fi
given=() # what tells one corpus from another (old versions of bash take an empty array for an unset one)
for name in $own; do
    case $name in
    allow_pipes | download) ;;
    labelled | unlabelled) if [ "${!name}" = true ]; then given+=("--$name"); fi ;;
    *) [ -z "${!name}" ] || given+=("--${name//_/-}" "${!name}") ;;
    esac
done
compared=(${baselines:+--baselines "$baselines"})
scored=(${backends:+--backends "$backends"} ${score_norm:+--score-norm "$score_norm"} ${compared[@]+"${compared[@]}"}
    ${calibration:+--calibration "$calibration"})
steps/check_conf.py --config "$config" ${scored[@]+"${scored[@]}"} --ngpu "$ngpu" \
    ${min_duration:+--min-duration "$min_duration"} ${max_skipped:+--max-skipped "$max_skipped"} \
    --corpus "$corpus" ${given[@]+"${given[@]}"} "$data_dir"

runs() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

if runs 0; then
    echo "== stage 0: prepare the corpus '$corpus' in $data_dir"
    if [ "$corpus" != toy ]; then
        if [ "$download" = true ]; then given+=(--download); fi
        given+=(${pipes[@]+"${pipes[@]}"})
        given+=(${max_skipped:+--max-skipped "$max_skipped"})
    fi
    if [ "$again" = true ]; then
        [ "$corpus" = combined ] || given+=(${dev_given[@]+"${dev_given[@]}"} --nj "$nj")
        local/prepare_again.py ${given[@]+"${given[@]}"} "$data_dir"
    else
        "local/prepare_$corpus.py" ${given[@]+"${given[@]}"} --seed "$seed" --dev-speakers "$dev_speakers" --nj "$nj" \
            "$data_dir"
    fi
fi

if runs 1; then
    echo "== stage 1: cuts, without speaker labels in the training set"
    trim=() && if [ "$trim_silence" = true ]; then trim=(--trim-silence); fi
    steps/make_cuts.py ${min_duration:+--min-duration "$min_duration"} ${max_skipped:+--max-skipped "$max_skipped"} \
        ${trim[@]+"${trim[@]}"} ${pipes[@]+"${pipes[@]}"} --nj "$nj" "$data_dir"
    steps/check_sizes.py --config "$config" --ngpu "$ngpu" "$data_dir"
fi

if runs 2; then
    echo "== stage 2: fbank, cached as $feats_type"
    steps/make_fbank.py --feats-type "$feats_type" ${max_skipped:+--max-skipped "$max_skipped"} \
        ${pipes[@]+"${pipes[@]}"} --nj "$nj" "$data_dir"
fi

if runs 3; then
    echo "== stage 3: reverberated copies, noise, music and babble"
    steps/make_augment.py ${augment:+--augment "$augment"} ${pipes[@]+"${pipes[@]}"} --seed "$seed" --nj "$nj" "$data_dir"
fi

if runs 4; then
    echo "== stage 4: train SDPN by $config"
    dev=() # to be looked at, epoch by epoch
    [ "$dev_speakers" -eq 0 ] || dev=(--dev-trials dev)
    steps/train_sdpn.py --config "$config" ${augment:+--augment "$augment"} --seed "$seed" --ngpu "$ngpu" \
        ${dev[@]+"${dev[@]}"} "$data_dir" "$exp_dir"
fi

if runs 5; then
    echo "== stage 5: x-vectors of the trained network and of the baselines, and of augmented training views"
    views=() && if [ "$corpus" = toy ]; then views=(--views 2 --view-frames 200); fi # short ones: its utterances are
    steps/extract_xvectors.py ${augment:+--augment "$augment"} ${views[@]+"${views[@]}"} ${compared[@]+"${compared[@]}"} --seed "$seed" --nj "$nj" \
        --ngpu "$ngpu" "$data_dir" "$exp_dir"
fi

if runs 6; then
    echo "== stage 6: back-ends and results"
    steps/score.py ${scored[@]+"${scored[@]}"} --seed "$seed" "$data_dir" "$exp_dir"
fi
