#!/usr/bin/env bash
# Self-supervised speaker verification with SDPN (arXiv 2308.02774), from recordings to a table of error rates.
# `./run.sh --stage 0 --stop-stage 6` runs it all; `./run.sh --help` lists the options.

set -euo pipefail

stage=0
stop_stage=6
corpus=toy
corpus_dir=
trials=
noise_dir=
music_dir=
rir_dir=
dev_speakers=0
data_dir=data
exp_dir=
config=
feats_type=ark
nj=$(nproc 2>/dev/null || echo 1)
ngpu=
seed=1
backends=cosine,lda-plda
score_norm=none,as

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
  --corpus NAME       toy: speech synthesized on the spot; folder: your recordings (default: $corpus)
  --corpus-dir DIR    for folder: speaker/[session/]utterance.flac|wav|opus|..., or DIR/train and DIR/eval*
  --trials FILE       for folder: "enroll test target|nontarget" (or "1 enroll test") lines; made where not given
  --noise-dir DIR     for folder: noises, music, room impulse responses;
  --music-dir DIR     synthetic ones serve where none are given
  --rir-dir DIR
  --dev-speakers N    training speakers held out as a further evaluation set, to choose settings on (default: $dev_speakers)

Where it goes
  --data-dir DIR      manifests and features (default: $data_dir)
  --exp-dir DIR       model, x-vectors, scores, results (default: exp/<corpus>)

How
  --config FILE       training settings (default: conf/sdpn/toy.yaml for toy, conf/sdpn/small.yaml for folder)
  --feats-type TYPE   ark or hdf5 (default: $feats_type)
  --backends LIST     of conf/backend/*.yaml; oracle-NAME learns from labels (default: $backends)
  --score-norm LIST   none, z, t, s, as, as2 (default: $score_norm)
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
    stage | stop_stage | corpus | corpus_dir | trials | noise_dir | music_dir | rir_dir | dev_speakers | data_dir | \
        exp_dir | config | feats_type | nj | ngpu | seed | backends | score_norm) ;;
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
case $feats_type in ark | hdf5) ;; *) fail "--feats-type is '$feats_type'; allowed: ark, hdf5" ;; esac
case $corpus in
toy)
    for name in corpus_dir trials noise_dir music_dir rir_dir; do
        [ -z "${!name}" ] || fail "--${name//_/-} goes with --corpus folder"
    done
    : "${config:=conf/sdpn/toy.yaml}"
    ;;
folder)
    if [ "$stage" -eq 0 ]; then [ -n "$corpus_dir" ] || fail "--corpus folder needs --corpus-dir DIR"; fi
    : "${config:=conf/sdpn/small.yaml}"
    ;;
*) fail "--corpus is '$corpus'; allowed: toy, folder" ;;
esac
: "${exp_dir:=exp/$corpus}"
if [ -z "$ngpu" ]; then ngpu=$(if nvidia-smi -L 2>/dev/null | grep -q GPU; then echo 1; else echo 0; fi); fi

# Paths given on the command line are relative to where it was typed
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
for name in corpus_dir trials noise_dir music_dir rir_dir data_dir exp_dir config; do
    case ${!name} in
    "" | /*) ;;
    *) [ "$here" = "$PWD" ] || [[ $name = config && ! -e $here/$config ]] || printf -v "$name" '%s' "$here/${!name}" ;;
    esac
done
for name in trials config; do
    [ -z "${!name}" ] || [ -f "${!name}" ] || fail "--$name is '${!name}', which is not a file"
done
for name in corpus_dir noise_dir music_dir rir_dir; do
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
steps/check_conf.py --config "$config" --backends "$backends" --score-norm "$score_norm" --ngpu "$ngpu" \
    --corpus "$corpus" ${corpus_dir:+--corpus-dir "$corpus_dir"} ${trials:+--trials "$trials"} \
    ${noise_dir:+--noise-dir "$noise_dir"} ${music_dir:+--music-dir "$music_dir"} ${rir_dir:+--rir-dir "$rir_dir"} "$data_dir"

runs() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

if runs 0; then
    echo "== stage 0: prepare the corpus '$corpus' in $data_dir"
    if [ "$corpus" = toy ]; then
        local/prepare_toy.py --seed "$seed" --dev-speakers "$dev_speakers" --nj "$nj" "$data_dir"
    else
        local/prepare_folder.py --corpus-dir "$corpus_dir" ${trials:+--trials "$trials"} \
            ${noise_dir:+--noise-dir "$noise_dir"} ${music_dir:+--music-dir "$music_dir"} ${rir_dir:+--rir-dir "$rir_dir"} \
            --seed "$seed" --dev-speakers "$dev_speakers" --nj "$nj" "$data_dir"
    fi
fi

if runs 1; then
    echo "== stage 1: cuts, without speaker labels in the training set"
    steps/make_cuts.py --nj "$nj" "$data_dir"
fi

if runs 2; then
    echo "== stage 2: fbank, cached as $feats_type"
    steps/make_fbank.py --feats-type "$feats_type" --nj "$nj" "$data_dir"
fi

if runs 3; then
    echo "== stage 3: reverberated copies, noise, music and babble"
    steps/make_augment.py --seed "$seed" --nj "$nj" "$data_dir"
fi

if runs 4; then
    echo "== stage 4: train SDPN by $config"
    dev=() # to be looked at, epoch by epoch
    [ "$dev_speakers" -eq 0 ] || dev=(--dev-trials dev)
    steps/train_sdpn.py --config "$config" --seed "$seed" --ngpu "$ngpu" "${dev[@]}" "$data_dir" "$exp_dir"
fi

if runs 5; then
    echo "== stage 5: x-vectors of the trained network and of the baselines"
    steps/extract_xvectors.py --nj "$nj" --ngpu "$ngpu" "$data_dir" "$exp_dir"
fi

if runs 6; then
    echo "== stage 6: back-ends and results"
    steps/score.py --backends "$backends" --score-norm "$score_norm" --seed "$seed" "$data_dir" "$exp_dir"
fi
