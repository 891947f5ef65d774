#include "trainer/config/other_names.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

/* Of transformers, DeepSpeed, Megatron-LM, nanoGPT, llama.cpp, PyTorch, and what people type. */
static const lap_config_other_names table[] = {
    {"seed", "random_seed rng_seed manual_seed"},
    {"init", "init_from init_checkpoint pretrained model_name_or_path load weights"},
    {"run_dir", "output_dir out_dir save_dir save log_dir logdir workdir work_dir out output"},
    {"tokenizer", "tokenizer_path tokenizer_model tokenizer_file tokenizer_name spm_model"},

    {"model.vocab_size", "n_vocab vocab padded_vocab_size"},
    {"model.hidden_size", "d_model n_embd embed_dim embedding_size hidden_dim dim width"},
    {"model.intermediate_size",
     "d_ff ffn_dim ffn_hidden_size ff_dim mlp_dim n_inner mlp_hidden_size"},
    {"model.num_hidden_layers", "n_layer n_layers num_layers layers depth"},
    {"model.num_attention_heads", "n_head n_heads num_heads heads"},
    {"model.num_key_value_heads", "n_kv_head n_kv_heads num_kv_heads kv_heads num_query_groups"},
    {"model.head_dim", "d_head head_size d_kv kv_channels"},
    {"model.sliding_window", "window window_size sliding_window_size"},
    {"model.rope_theta", "rope_base rotary_base theta"},
    {"model.rms_norm_eps", "norm_eps norm_epsilon layer_norm_eps layernorm_epsilon"},
    {"model.max_position_embeddings", "n_positions max_position"},

    {"data.train",
     "train_data train_file train_files train_path train_dataset dataset dataset_path data_path"},
    {"data.eval",
     "eval_data eval_file eval_files val val_data valid valid_data validation validation_file test "
     "heldout held_out"},
    {"data.sequence_length",
     "seq_len seq_length seqlen sequence_len max_seq_len max_seq_length max_length block_size "
     "context context_length context_size ctx n_ctx"},

    {"teacher.cache", "teacher_cache teacher_path teacher_logits logits"},
    {"objective.distill_weight",
     "alpha kd_weight kd_alpha distill_alpha distillation_weight distill_loss_weight lambda"},
    {"objective.smoothing", "label_smoothing smoothing label_smoothing_factor"},
    {"objective.temperature", "temp tau kd_temperature distill_temperature"},

    {"mesh.pods", "num_pods n_pods"},
    {"mesh.data", "dp data_parallel data_parallel_size lanes num_replicas"},
    {"mesh.model",
     "tp tensor_parallel tensor_parallel_size tensor_model_parallel_size model_parallel "
     "model_parallel_size"},
    {"mesh.shard", "zero zero_stage zero_optimization fsdp sharding sharding_strategy"},
    {"recompute",
     "gradient_checkpointing activation_checkpointing checkpoint_activations recompute_granularity "
     "remat"},

    {"batch.sequences",
     "batch_size global_batch_size total_batch_size train_batch_size batchsize bs"},
    {"batch.micro_sequences",
     "micro_batch_size microbatch_size mbs device_batch_size per_device_train_batch_size "
     "train_micro_batch_size_per_gpu gradient_accumulation_steps grad_accum grad_accum_steps"},

    {"optimizer.learning_rate", "lr max_lr lr_max peak_lr base_lr max_learning_rate eta"},
    {"optimizer.beta1", "b1 beta_1 adam_beta1 betas momentum"},
    {"optimizer.beta2", "b2 beta_2 adam_beta2"},
    {"optimizer.epsilon", "eps adam_epsilon adam_eps"},
    {"optimizer.weight_decay", "wd decay l2"},
    {"optimizer.clip_norm",
     "clip clip_grad clip_grad_norm grad_clip grad_clip_norm gradient_clip gradient_clipping "
     "gradient_clip_val max_grad_norm max_norm"},

    {"schedule.steps",
     "max_steps num_steps n_steps total_steps train_steps training_steps num_train_steps "
     "num_training_steps max_iters iters iterations num_iterations train_iters"},
    {"schedule.tokens", "max_tokens num_tokens total_tokens train_tokens"},
    {"schedule.epochs", "epoch max_epochs num_epochs n_epochs num_train_epochs"},
    {"schedule.warmup_steps",
     "warmup warm_up warmup_iters num_warmup_steps lr_warmup_steps lr_warmup_iters warmup_ratio "
     "warmup_fraction"},
    {"schedule.kind",
     "lr_schedule lr_scheduler lr_scheduler_type scheduler scheduler_type lr_decay_style "
     "schedule_type"},
    {"schedule.final_ratio", "min_lr lr_min final_lr lr_end min_learning_rate min_lr_ratio"},

    {"checkpoint.every_steps",
     "save_steps save_interval save_every ckpt_every checkpoint_interval checkpoint_every "
     "checkpoint_steps"},
    {"checkpoint.keep", "save_total_limit keep_last max_checkpoints max_to_keep"},
    {"checkpoint.keep_best", "save_best load_best_model_at_end"},
    {"eval.every_steps",
     "eval_steps eval_interval eval_every eval_freq val_interval val_check_interval"},

    {"threads", "num_threads n_threads nthreads omp_num_threads cpus_per_task"},
    {"precision", "dtype torch_dtype bf16 fp16 mixed_precision amp"},
    {"watchdog_seconds", "timeout watchdog ddp_timeout"},
};

const lap_config_other_names *lap_config_other_names_table(size_t *count) {
  *count = sizeof table / sizeof *table;
  return table;
}

/* Letters in either case; "-" is "_". */
static bool is_same(const char *name, const char *word, size_t length) {
  if (strlen(name) != length) return false;
  for (size_t i = 0; i < length; ++i)
    if ((name[i] == '-' ? '_' : tolower((unsigned char)name[i])) != word[i]) return false;
  return true;
}

static bool is_among(const char *name, const char *words) {
  for (const char *word = words; *word;) {
    const size_t length = strcspn(word, " ");
    if (is_same(name, word, length)) return true;
    word += length;
    word += strspn(word, " ");
  }
  return false;
}

const char *lap_config_by_other_name(const char *name) {
  const char *dot = strrchr(name, '.'), *own = dot ? dot + 1 : name;
  for (size_t i = 0; i < sizeof table / sizeof *table; ++i)
    if (is_among(own, table[i].names)) return table[i].key;
  return NULL;
}
