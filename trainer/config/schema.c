#include "trainer/config/schema.h"

#include <stddef.h>
#include <string.h>

#include "core/suggest.h"

static const char *const tail_words[] = {"ghost", "drop",      "renormalise", "renormalise_both",
                                         "none",  "decoupled", NULL};
static const char *const smoothing_words[] = {"none", "uniform", "unigram", NULL};
static const char *const shard_words[] = {"none", "optimizer", "gradients", "full", NULL};
static const char *const recompute_words[] = {"none", "block", "attention", NULL};
static const char *const schedule_words[] = {"cosine", "linear", "constant", "wsd", NULL};
static const char *const gemm_words[] = {"lapidary", "openblas", NULL};
static const char *const policy_words[] = {"stop", "exclude", NULL};
static const char *const switch_words[] = {"off", "on", NULL};
static const char *const precision_words[] = {"float32", "bfloat16", NULL};

/* Upper bounds keep products of two keys within int64_t; the model's own check is stricter. Those
 * of the model's reals are the model's (autograd/gemma2/config.c). */
enum { MODEL_WIDTH = 1 << 20, MODEL_LENGTH = 1 << 24 };

static const lap_config_key schema[] = {
    {"seed", LAP_KEY_INTEGER, offsetof(lap_config, seed), .fallback = "1", .minimum = 0,
     .maximum = 9e18, .in_numbers = true,
     .meaning = "Seed of the initial weights and of the order of the data."},
    {"init", LAP_KEY_TEXT, offsetof(lap_config, init), .fallback = "random",
     .meaning = "random, or a directory of initial weights. A checkpoint, a run directory (its "
                "newest checkpoint) or a Hugging Face directory: the run starts from its weights "
                "at step 0."},
    {"run_dir", LAP_KEY_TEXT, offsetof(lap_config, run_dir), .needs = LAP_NEEDS_RUN,
     .example = "runs/distilled",
     .meaning = "Directory of the run: checkpoints, metrics, log. All ranks must see it. One that "
                "holds checkpoints is refused unless train is given --resume."},
    {"tokenizer", LAP_KEY_TEXT, offsetof(lap_config, tokenizer), .needs = LAP_NEEDS_DATA,
     .example = "my.model",
     .meaning =
         "SentencePiece model that made the token shards. It has pad 0, eos 1, bos 2 and unk 3."},

    {"model.vocab_size", LAP_KEY_INTEGER, offsetof(lap_config, model.vocab_size), .minimum = 2,
     .maximum = MODEL_LENGTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true, .example = "2048",
     .meaning = "Rows of the embedding. At least the vocabulary of the token shards."},
    {"model.hidden_size", LAP_KEY_INTEGER, offsetof(lap_config, model.hidden_size), .minimum = 1,
     .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true, .example = "96",
     .meaning = "Width of the residual stream."},
    {"model.intermediate_size", LAP_KEY_INTEGER, offsetof(lap_config, model.intermediate_size),
     .minimum = 1, .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true,
     .example = "288",
     .meaning = "Inner width of GeGLU. Half of the paper's \"feedforward dim\", which counts gate "
                "and up."},
    {"model.num_hidden_layers", LAP_KEY_INTEGER, offsetof(lap_config, model.num_hidden_layers),
     .minimum = 1, .maximum = LAP_MAX_LAYERS, .needs = LAP_NEEDS_MODEL, .in_numbers = true,
     .example = "3", .meaning = "Number of layers."},
    {"model.num_attention_heads", LAP_KEY_INTEGER, offsetof(lap_config, model.num_attention_heads),
     .minimum = 1, .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true,
     .example = "4",
     .meaning = "Query heads of a layer. A multiple of model.num_key_value_heads; times "
                "model.head_dim at most 1048576."},
    {"model.num_key_value_heads", LAP_KEY_INTEGER, offsetof(lap_config, model.num_key_value_heads),
     .minimum = 1, .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true,
     .example = "2",
     .meaning = "Key and value heads of a layer. Fewer than query heads is grouped-query "
                "attention, 1 is multi-query attention."},
    {"model.head_dim", LAP_KEY_INTEGER, offsetof(lap_config, model.head_dim), .minimum = 2,
     .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true, .example = "24",
     .meaning = "Width of a head. Even, because RoPE rotates its halves."},
    {"model.sliding_window", LAP_KEY_INTEGER, offsetof(lap_config, model.sliding_window),
     .minimum = 1, .maximum = MODEL_LENGTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true,
     .unit = "tokens", .example = "64",
     .meaning = "Tokens that a sliding_attention layer sees. The token itself is one of them."},
    {"model.query_pre_attn_scalar", LAP_KEY_REAL, offsetof(lap_config, model.query_pre_attn_scalar),
     .minimum = 1e-30, .maximum = 1e30, .needs = LAP_NEEDS_MODEL, .in_numbers = true,
     .example = "24",
     .meaning = "Attention scores are multiplied by its power -1/2. head_dim in Gemma 2 2B and 9B, "
                "hidden_size / num_attention_heads in 27B."},
    {"model.attn_logit_softcapping", LAP_KEY_CAP,
     offsetof(lap_config, model.attn_logit_softcapping), .fallback = "50", .minimum = 1e-6,
     .maximum = 1e30, .in_numbers = true,
     .meaning = "Soft-cap of attention scores; null: off. A score becomes cap tanh(score / cap)."},
    {"model.final_logit_softcapping", LAP_KEY_CAP,
     offsetof(lap_config, model.final_logit_softcapping), .fallback = "30", .minimum = 1e-6,
     .maximum = 1e30, .in_numbers = true, .meaning = "Soft-cap of the final logits; null: off."},
    {"model.rope_theta", LAP_KEY_REAL, offsetof(lap_config, model.rope_theta), .fallback = "10000",
     .minimum = 1e-6, .maximum = 1e30, .in_numbers = true,
     .meaning = "Base of the RoPE frequencies."},
    {"model.rms_norm_eps", LAP_KEY_REAL, offsetof(lap_config, model.rms_norm_eps),
     .fallback = "1.0e-6", .minimum = 1e-30, .maximum = 1, .in_numbers = true,
     .meaning = "Added to the mean square in RMSNorm."},
    {"model.max_position_embeddings", LAP_KEY_INTEGER,
     offsetof(lap_config, model.max_position_embeddings), .fallback = "8192", .minimum = 1,
     .maximum = MODEL_LENGTH, .in_numbers = true, .unit = "tokens",
     .meaning = "Longest sequence that the model is made for. Bounds data.sequence_length."},
    {"model.pre_norms_only", LAP_KEY_BOOLEAN, offsetof(lap_config, model.pre_norms_only),
     .fallback = "false", .in_numbers = true,
     .meaning = "No norms behind attention and feed-forward. Gemma 2 has norms before and behind "
                "them, so such a model cannot be exported."},
    {"model.layer_types", LAP_KEY_LAYER_TYPES, offsetof(lap_config, model.sliding),
     .in_numbers = true, .derived = "both in turn, sliding_attention first",
     .example = "[sliding_attention, full_attention, sliding_attention]", .commented_out = true,
     .meaning =
         "Attention of each layer. An entry for each layer, sliding_attention or full_attention."},

    {"data.train", LAP_KEY_SOURCES, offsetof(lap_config, data), .needs = LAP_NEEDS_DATA,
     .example = "tokens/train/*.h5",
     .meaning =
         "Token shards to train on: files. Or a list of sources, each FILES or {path: FILES, "
         "weight: W}: a source's share of the windows is its weight over the sum of all "
         "weights, however large it is; train --dry-run shows shares and epochs. Weights "
         "are above 0, at most 1e9, and 1 where not given."},
    {"data.eval", LAP_KEY_TEXT, offsetof(lap_config, data.eval), .derived = "none: no evaluation",
     .example = "tokens/eval/*.h5",
     .meaning = "Token shards held out for evaluation: a path, folder or glob."},
    {"data.sequence_length", LAP_KEY_INTEGER, offsetof(lap_config, data.sequence_length),
     .minimum = 2, .maximum = MODEL_LENGTH, .needs = LAP_NEEDS_BATCH, .in_numbers = true,
     .unit = "tokens", .example = "256",
     .meaning = "Inputs of a window, T. A BOS prefix and T - 1 tokens of a shard; at most "
                "model.max_position_embeddings."},
    {"data.document_mask", LAP_KEY_BOOLEAN, offsetof(lap_config, data.document_mask),
     .fallback = "true", .in_numbers = true,
     .meaning = "Attention stops at the start of a document."},

    {"teacher.cache", LAP_KEY_TEXT, offsetof(lap_config, teacher.cache),
     .derived = "none: no teacher", .example = "cache/*.h5",
     .meaning =
         "Cache of the teacher: a path, folder or glob. A file belongs to the token shard whose "
         "tokens_sha256 it has; files for data.eval may be among them. Caches of a drawn codec may "
         "come with several draw seeds: each epoch reads the next."},
    {"teacher.allow_context_mismatch", LAP_KEY_BOOLEAN,
     offsetof(lap_config, teacher.allow_context_mismatch), .fallback = "false",
     .meaning = "Accept a cache made with other windows. That is, with another "
                "data.sequence_length or data.document_mask."},
    {"teacher.allow_shift", LAP_KEY_BOOLEAN, offsetof(lap_config, teacher.allow_shift),
     .fallback = "false", .meaning = "Accept a cache whose rows look shifted by one."},

    {"objective.distill_weight", LAP_KEY_REAL, offsetof(lap_config, objective.distill_weight),
     .minimum = 0, .maximum = 1, .in_numbers = true,
     .derived = "1 with teacher.cache, 0.1 with objective.smoothing, else 0", .example = "1",
     .meaning = "Share of the teacher in the loss; 0: next-token prediction. With weight w, a "
                "position's loss is (1 - w) CE + w temperature^2 KD."},
    {"objective.smoothing", LAP_KEY_WORD, offsetof(lap_config, smoothing), .words = smoothing_words,
     .fallback = "none", .in_numbers = true,
     .meaning = "A fixed distribution in the place of a teacher. "
                "uniform: label smoothing; unigram: how frequent each token of data.train is. Its "
                "weight is objective.distill_weight. teacher.cache is then for evaluation only."},
    {"objective.temperature", LAP_KEY_REAL, offsetof(lap_config, objective.temperature),
     .fallback = "1", .minimum = 0.001, .maximum = 1000, .in_numbers = true,
     .meaning = "Temperature of teacher and student in KD. Other than 1 needs objective.tail "
                "renormalise or renormalise_both and a cache of codec topk."},
    {"objective.tail", LAP_KEY_WORD, offsetof(lap_config, objective.tail), .words = tail_words,
     .in_numbers = true, .derived = "ghost for a cache of codec topk, else none",
     .example = "ghost",
     .meaning = "Tail rule. The tail is the probability that the cache did not keep. "
                "ghost: one bucket of all other ids; drop: it does not count; renormalise: the "
                "teacher's kept probabilities are scaled to sum to 1; renormalise_both: the "
                "student's too; none: they sum to 1 as they are; decoupled: head and tail apart, "
                "for a dense or stratified cache. With drawn codecs ghost is none, and "
                "renormalise_both is refused."},
    {"objective.head", LAP_KEY_INTEGER, offsetof(lap_config, objective.head), .minimum = 1,
     .maximum = 1 << 20, .in_numbers = true, .derived = "of a stratified cache its exact ids",
     .unit = "ids", .example = "10",
     .meaning = "Ids of the head with objective.tail decoupled: the most probable ones. Needed "
                "with a dense cache (topk with k the vocabulary)."},
    {"objective.tail_weight", LAP_KEY_REAL, offsetof(lap_config, objective.tail_weight),
     .minimum = 0, .maximum = 1000, .in_numbers = true, .derived = "1 with tail decoupled",
     .example = "1",
     .meaning = "Weight of the tail's own distribution with objective.tail decoupled. With the "
                "probability of the tail in its place the loss would be that of none."},

    {"mesh.pods", LAP_KEY_SMALL, offsetof(lap_config, mesh.pods), .fallback = "1", .minimum = 1,
     .maximum = 4096, .in_numbers = true,
     .meaning =
         "Pods of the logical mesh. The mesh decides the numbers; ranks decide only the speed."},
    {"mesh.data", LAP_KEY_SMALL, offsetof(lap_config, mesh.data), .fallback = "1", .minimum = 1,
     .maximum = 65536, .in_numbers = true, .example = "4",
     .meaning = "Data lanes of a pod. A lane computes its share of a step's sequences; a rank may "
                "run several lanes."},
    {"mesh.model", LAP_KEY_SMALL, offsetof(lap_config, mesh.model), .fallback = "1", .minimum = 1,
     .maximum = 4096, .in_numbers = true,
     .meaning = "Model shards of a lane. Divides num_attention_heads, num_key_value_heads, "
                "intermediate_size and vocab_size."},
    {"mesh.shard", LAP_KEY_WORD, offsetof(lap_config, sharding), .fallback = "optimizer",
     .words = shard_words,
     .meaning = "What ranks divide among them. With optimizer the moments; with gradients also the "
                "gradients; with full also the weights (ZeRO 1 to 3). Changes memory and traffic, "
                "no bit."},
    {"mesh.model_ranks", LAP_KEY_SMALL, offsetof(lap_config, model_ranks), .minimum = 1,
     .maximum = 4096, .derived = "the fewest that put every rank to use", .example = "1",
     .commented_out = true,
     .meaning = "Ranks that share the model shards of a lane. Divides mesh.model and the number of "
                "ranks."},
    {"recompute", LAP_KEY_WORD, offsetof(lap_config, recompute), .fallback = "none",
     .words = recompute_words,
     .meaning = "What backward recomputes. With attention: attention, norms and GeGLU; with block: "
                "all of a layer but its input. Less memory, more time, the same bits."},

    {"batch.sequences", LAP_KEY_INTEGER, offsetof(lap_config, batch.sequences), .minimum = 1,
     .maximum = 1e9, .needs = LAP_NEEDS_BATCH, .in_numbers = true, .unit = "sequences",
     .example = "16",
     .meaning = "Sequences of a step, over all lanes. A multiple of mesh.pods x mesh.data."},
    {"batch.micro_sequences", LAP_KEY_INTEGER, offsetof(lap_config, batch.micro_sequences),
     .minimum = 1, .maximum = 1e9, .in_numbers = true, .unit = "sequences", .example = "1",
     .derived = "as many as have 4096 positions and fit memory; 1 with gemm: openblas",
     .commented_out = true,
     .meaning = "Sequences of one forward and backward in a lane. Divides the sequences of a lane. "
                "Memory and speed, not the numbers, but with gemm: openblas."},

    {"optimizer.learning_rate", LAP_KEY_REAL, offsetof(lap_config, optimizer.learning_rate),
     .minimum = 0, .maximum = 1000, .lower = LAP_ABOVE, .in_numbers = true,
     .derived = "min(6e-3, 0.5 / model.hidden_size)", .example = "4.0e-3",
     .meaning = "Peak of the learning rate."},
    {"optimizer.beta1", LAP_KEY_REAL, offsetof(lap_config, optimizer.beta1), .fallback = "0.9",
     .minimum = 0, .maximum = 1, .upper = LAP_BELOW, .in_numbers = true,
     .meaning = "Decay of AdamW's first moment."},
    {"optimizer.beta2", LAP_KEY_REAL, offsetof(lap_config, optimizer.beta2), .fallback = "0.95",
     .minimum = 0, .maximum = 1, .upper = LAP_BELOW, .in_numbers = true,
     .meaning = "Decay of AdamW's second moment."},
    {"optimizer.epsilon", LAP_KEY_REAL, offsetof(lap_config, optimizer.epsilon),
     .fallback = "1.0e-8", .minimum = 1e-16, .maximum = 1, .in_numbers = true,
     .meaning = "Added to the root of AdamW's second moment."},
    {"optimizer.weight_decay", LAP_KEY_REAL, offsetof(lap_config, optimizer.weight_decay),
     .fallback = "0.1", .minimum = 0, .maximum = 1000, .in_numbers = true,
     .meaning = "Weight decay, multiplied by the learning rate. Of matrices and embedding; norms "
                "do not decay."},
    {"optimizer.clip_norm", LAP_KEY_REAL, offsetof(lap_config, optimizer.clip_norm),
     .fallback = "1", .minimum = 0, .maximum = 1e300, .lower = LAP_ABOVE, .in_numbers = true,
     .meaning = "Largest norm of the mean gradient, which is scaled down to it."},

    {"schedule.steps", LAP_KEY_INTEGER, offsetof(lap_config, schedule.steps), .minimum = 1,
     .maximum = 1e12, .in_numbers = true,
     .derived = "none: give exactly one of steps, tokens, epochs", .unit = "steps",
     .example = "500", .meaning = "Length of the run in steps."},
    {"schedule.tokens", LAP_KEY_INTEGER, offsetof(lap_config, schedule.tokens), .minimum = 1,
     .maximum = 1e18, .in_numbers = true,
     .derived = "none: give exactly one of steps, tokens, epochs", .unit = "tokens",
     .example = "2048000", .commented_out = true,
     .meaning = "Length of the run in tokens. Inputs count, padding included."},
    {"schedule.epochs", LAP_KEY_REAL, offsetof(lap_config, schedule.epochs), .minimum = 0,
     .maximum = 1e9, .lower = LAP_ABOVE, .in_numbers = true,
     .derived = "none: give exactly one of steps, tokens, epochs", .unit = "epochs", .example = "1",
     .commented_out = true, .meaning = "Length of the run in passes over data.train."},
    {"schedule.warmup_steps", LAP_KEY_INTEGER, offsetof(lap_config, schedule.warmup_steps),
     .minimum = 0, .maximum = 1e12, .in_numbers = true, .derived = "5 % of all steps, rounded down",
     .unit = "steps", .example = "25",
     .meaning = "Steps in which the learning rate rises from 0 to its peak. At most all steps."},
    {"schedule.kind", LAP_KEY_WORD, offsetof(lap_config, schedule.kind), .fallback = "cosine",
     .words = schedule_words, .in_numbers = true,
     .meaning =
         "Learning rate after the warm-up. cosine and linear fall to final_ratio; constant stays; "
         "wsd stays, then falls linearly to final_ratio in the last 10 % of all steps, rounded "
         "down: of fewer than 10 steps it never falls."},
    {"schedule.final_ratio", LAP_KEY_REAL, offsetof(lap_config, schedule.final_ratio),
     .fallback = "0.1", .minimum = 0, .maximum = 1, .in_numbers = true,
     .meaning =
         "Where the learning rate ends, as a share of the peak. With wsd the last step has it; "
         "cosine and linear would reach it one step after the last."},

    {"checkpoint.every_steps", LAP_KEY_INTEGER, offsetof(lap_config, checkpoint.every_steps),
     .minimum = 0, .maximum = 1e12, .derived = "off", .unit = "steps", .example = "50",
     .meaning = "Steps between checkpoints; 0: off. The last step always writes one."},
    {"checkpoint.every_minutes", LAP_KEY_REAL, offsetof(lap_config, checkpoint.every_minutes),
     .minimum = 0, .maximum = 1e9, .derived = "off", .unit = "minutes", .example = "30",
     .meaning = "Minutes between checkpoints; 0: off."},
    {"checkpoint.behind", LAP_KEY_BOOLEAN, offsetof(lap_config, checkpoint.behind),
     .fallback = "true",
     .meaning = "Whether steps go on while a checkpoint is written. It is copied first, which "
                "takes 12 bytes for each parameter of which a rank owns the state, and read back "
                "before it counts. false: steps wait. The last one, and that of a run that is "
                "stopped, is never copied."},
    {"checkpoint.keep", LAP_KEY_INTEGER, offsetof(lap_config, checkpoint.keep), .fallback = "3",
     .minimum = 1, .maximum = 1e9, .unit = "checkpoints",
     .meaning = "How many of the newest checkpoints are kept. Older ones are removed, but for "
                "those of the next two keys."},
    {"checkpoint.keep_every", LAP_KEY_INTEGER, offsetof(lap_config, checkpoint.keep_every),
     .minimum = 1, .maximum = 1e12, .derived = "off", .unit = "steps", .example = "1000",
     .commented_out = true, .meaning = "Checkpoints of multiples of this step are kept for ever."},
    {"checkpoint.keep_best", LAP_KEY_BOOLEAN, offsetof(lap_config, checkpoint.keep_best),
     .fallback = "false",
     .meaning = "The checkpoint with the lowest evaluation loss is kept as well."},
    {"eval.every_steps", LAP_KEY_INTEGER, offsetof(lap_config, eval.every_steps), .minimum = 0,
     .maximum = 1e12, .derived = "only after the last step", .unit = "steps", .example = "250",
     .meaning = "Steps between evaluations on data.eval; 0: only after the last."},

    {"integrity.recheck.lanes", LAP_KEY_INTEGER, offsetof(lap_config, integrity.recheck_lanes),
     .fallback = "1", .minimum = 1, .maximum = 1e9, .unit = "lanes",
     .meaning =
         "Lanes that a recheck computes again. On another replica, where there is one; their "
         "gradients must have the same bits. Chosen at random, anew each time; at most all "
         "lanes."},
    {"integrity.recheck.every", LAP_KEY_INTEGER, offsetof(lap_config, integrity.recheck_every),
     .fallback = "0", .minimum = 0, .maximum = 1e12, .unit = "steps", .example = "50",
     .meaning =
         "Steps between rechecks; 0: never. With R replicas and L lanes they take lanes x R / "
         "(L x every) of the time at most, and memory for the gradient of a lane."},
    {"integrity.policy", LAP_KEY_WORD, offsetof(lap_config, integrity.policy), .fallback = "stop",
     .words = policy_words,
     .meaning =
         "What happens once a rank has computed wrongly. stop ends the run with exit code 4; "
         "exclude writes the host into excluded_hosts of run_dir and ends with 75, for a job "
         "script that goes on without it."},
    {"integrity.messages", LAP_KEY_WORD, offsetof(lap_config, integrity.messages), .fallback = "on",
     .words = switch_words,
     .meaning =
         "Hashes of messages between ranks. The XXH3 of its bytes follows each message; the "
         "receiver compares, and a difference ends the job with exit code 4. Costs a pass over "
         "what is sent and one over what arrives. Changes no bit."},
    {"integrity.sums", LAP_KEY_WORD, offsetof(lap_config, integrity.sums), .fallback = "on",
     .words = switch_words,
     .meaning =
         "Sums over ranks added again. Of each gradient's sum another rank adds a 64th, "
         "chosen at random; what every rank adds for itself, losses, counts and norms, is "
         "compared between ranks before the update. A difference ends the job with exit code 4. "
         "Costs a 64th of what gradients send, and three more exchanges a step. Changes no bit."},
    {"integrity.state", LAP_KEY_WORD, offsetof(lap_config, integrity.state), .fallback = "on",
     .words = switch_words,
     .meaning =
         "Checksums of weights and moments from one update to the next. There is one for 16384 "
         "elements. A difference ends the job with exit code 4. Costs about 1 ns for each "
         "element that a rank updates, and a pass over copies of weights. Changes no bit."},

    {"threads", LAP_KEY_SMALL, offsetof(lap_config, threads), .fallback = "1", .minimum = 1,
     .maximum = 4096, .unit = "threads", .meaning = "OpenMP threads of a rank."},
    {"gemm", LAP_KEY_WORD, offsetof(lap_config, gemm), .fallback = "lapidary", .words = gemm_words,
     .in_numbers = true,
     .meaning = "What computes matrix products. lapidary gives the same bits on every processor. A "
                "config that names a core type in blas_core and no gemm means openblas."},
    {"blas_core", LAP_KEY_TEXT, offsetof(lap_config, blas_core), .fallback = "auto",
     .in_numbers = true,
     .meaning = "Kernels of OpenBLAS: auto, or a core type such as HASWELL. auto takes the best "
                "that all ranks share when the run first starts. Part of the numbers with gemm: "
                "openblas; with gemm: lapidary a core type is refused."},
    {"precision", LAP_KEY_WORD, offsetof(lap_config, precision), .fallback = "float32",
     .words = precision_words, .in_numbers = true,
     .meaning =
         "Precision of matrix products. bfloat16 rounds their operands, and weights wherever they "
         "are used, and sums in float32: 1.4 to 3.2 times as fast on processors that multiply it "
         "(AMX, AVX512_BF16), not elsewhere. Passes then read weights in two bytes, and ranks send "
         "them so. Part of the numbers."},
    {"watchdog_seconds", LAP_KEY_REAL, offsetof(lap_config, watchdog_seconds), .fallback = "300",
     .minimum = 0, .maximum = 1e9, .lower = LAP_ABOVE, .unit = "seconds",
     .meaning = "How long a rank may stand still before the job ends with exit code 76. One that "
                "is stopped, stuck or dead stands still; a slow one does not."},
    {"max_bad_steps", LAP_KEY_INTEGER, offsetof(lap_config, max_bad_steps), .fallback = "10",
     .minimum = 1, .maximum = 1e9, .unit = "steps",
     .meaning = "Non-finite steps in a row that end the run. A step whose loss or gradient is not "
                "finite changes no weight; after so many in a row the exit code is 4."},
};

enum { KEYS = sizeof schema / sizeof *schema };

const lap_config_key *lap_config_schema(size_t *count) {
  *count = KEYS;
  return schema;
}

int lap_config_find(const char *name) {
  for (int i = 0; i < KEYS; ++i)
    if (strcmp(schema[i].name, name) == 0) return i;
  return -1;
}

/* In the order of their keys. */
static const lap_config_section sections[] = {
    {"model", "Shape of the model, by the names of Hugging Face's config.json."},
    {"data", "Token shards, as `lapidary tokenize` writes them, and the windows cut from them."},
    {"teacher", "What a teacher said about the same tokens, as `lapidary teach` writes it."},
    {"objective", "What the model is trained towards."},
    {"mesh", "The logical mesh, which decides the numbers, and how ranks share its memory."},
    {"batch", "Sequences of a step."},
    {"optimizer", "AdamW."},
    {"schedule", "Length of the run, and the learning rate on its way."},
    {"checkpoint", "When checkpoints are written, and which of them are kept."},
    {"eval", "Evaluation while training."},
    {"integrity",
     "What is checked against wrong arithmetic and damaged memory, and what a run does then."},
};
enum { SECTIONS = sizeof sections / sizeof *sections };

const lap_config_section *lap_config_sections(size_t *count) {
  *count = SECTIONS;
  return sections;
}

bool lap_config_is_section(const char *name) {
  const size_t length = strlen(name);
  for (int i = 0; i < KEYS; ++i)
    if (strncmp(schema[i].name, name, length) == 0 && schema[i].name[length] == '.') return true;
  return false;
}

const char *lap_config_section_of(const lap_config_key *key) {
  for (int i = 0; i < SECTIONS; ++i) {
    const size_t length = strlen(sections[i].name);
    if (strncmp(key->name, sections[i].name, length) == 0 && key->name[length] == '.')
      return sections[i].name;
  }
  return "";
}

const char *lap_config_own_name(const lap_config_key *key) {
  const size_t section = strlen(lap_config_section_of(key));
  return key->name + (section ? section + 1 : 0);
}

/* Sections are candidates too: "modle: {...}" is a section misspelt, not a key. */
const char *lap_config_nearest(const char *name) {
  const char *candidates[KEYS + SECTIONS];
  for (int i = 0; i < KEYS; ++i) candidates[i] = schema[i].name;
  for (int i = 0; i < SECTIONS; ++i) candidates[KEYS + i] = sections[i].name;
  return lap_suggest(name, candidates, KEYS + SECTIONS);
}
