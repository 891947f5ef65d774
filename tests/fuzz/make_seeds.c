/* Writes the files that the fuzzers start from, real ones and small: make_seeds DIRECTORY CONFIGS.
 * Each harness gets DIRECTORY/HARNESS; the config files of CONFIGS go to its own. */
#include <assert.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "dataset/tokenizer.h"
#include "seed_weights.h"
#include "seeds.h"
#include "teacher/cache_write.h"
#include "tests/teacher/synthetic.h"
#include "tests/train_tokenizer.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/gguf/write.h"
#include "trainer/hf/config.h"
#include "trainer/hf/safetensors.h"

static void must(lap_code code, const lap_status *status) {
  if (code == LAP_OK) return;
  fprintf(stderr, "make_seeds: %s\n", status->message);
  exit(code);
}

/* DIRECTORY/HARNESS/NAME, whose directory is made; malloc'ed. */
static char *seed_path(const char *directory, const char *harness, const char *name) {
  lap_status status;
  char *folder = lap_format("%s/%s", directory, harness);
  must(lap_file_make_directories(folder, &status), &status);
  char *path = lap_format("%s/%s", folder, name);
  free(folder);
  return path;
}

static void write_seed(const char *directory, const char *harness, const char *name,
                       const void *bytes, size_t count) {
  lap_status status;
  char *path = seed_path(directory, harness, name);
  must(lap_file_write(path, bytes, count, &status), &status);
  free(path);
}

static void write_text(const char *directory, const char *harness, const char *name,
                       const char *text) {
  write_seed(directory, harness, name, text, strlen(text));
}

/* --- HDF5: as lapidary writes it, and as plain HDF5 programs do --- */

static void write_dataset(hid_t file, const char *name, hsize_t count, hid_t type, hid_t memory,
                          const void *values, hsize_t chunk) {
  const hid_t space = H5Screate_simple(1, &count, NULL), creation = H5Pcreate(H5P_DATASET_CREATE);
  if (chunk > count) chunk = count;
  if (chunk > 0) {
    H5Pset_chunk(creation, 1, &chunk);
    H5Pset_shuffle(creation);
    H5Pset_deflate(creation, 1);
    H5Pset_fletcher32(creation);
  }
  const hid_t id = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  const herr_t written = H5Dwrite(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
  assert(written >= 0);
  H5Dclose(id);
  H5Pclose(creation);
  H5Sclose(space);
}

static void write_attribute(hid_t file, const char *name, hid_t type, const void *value) {
  const hid_t space = H5Screate(H5S_SCALAR);
  const hid_t id = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  const herr_t written = H5Awrite(id, type, value);
  assert(written >= 0);
  H5Aclose(id);
  H5Sclose(space);
}

static void write_string(hid_t file, const char *name, const char *text, bool variable) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, variable ? H5T_VARIABLE : strlen(text));
  write_attribute(file, name, type, variable ? (const void *)&text : text);
  H5Tclose(type);
}

static void write_plain_shard(const char *path, bool variable, hsize_t chunk) {
  const lap_token_shard *shard = seed_shard();
  const int64_t version = 1, vocab_size = shard->vocab_size;
  const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  write_string(file, "format", "lapidary-tokens", variable);
  write_attribute(file, "format_version", H5T_NATIVE_INT64, &version);
  write_attribute(file, "vocab_size", H5T_NATIVE_INT64, &vocab_size);
  write_string(file, "tokenizer_sha256", shard->tokenizer_sha256, variable);
  write_string(file, "tokens_sha256", shard->tokens_sha256, variable);
  write_dataset(file, "tokens", shard->token_count, H5T_STD_I64LE, H5T_NATIVE_UINT32, shard->tokens,
                chunk);
  write_dataset(file, "documents", shard->document_count + 1, H5T_STD_U64LE, H5T_NATIVE_UINT64,
                shard->documents, chunk);
  H5Fclose(file);
}

static void write_token_shards(const char *directory) {
  const lap_token_shard *shard = seed_shard();
  lap_status status;
  char *path = seed_path(directory, "token_shard", "ours.h5");
  must(lap_token_shard_write(path, shard->tokens, shard->token_count, shard->documents,
                             shard->document_count, shard->vocab_size, shard->tokenizer_sha256,
                             &status),
       &status);
  free(path);
  for (int kind = 0; kind < 4; ++kind) {
    char name[32];
    snprintf(name, sizeof name, "plain-%d.h5", kind);
    path = seed_path(directory, "token_shard", name);
    write_plain_shard(path, kind % 2, kind / 2 ? 5 : 0);
    free(path);
  }
}

static void fill_content(const lap_token_shard *shard, lap_cache_content *content) {
  lap_cache_content_create(shard->token_count, SEED_K, content);
  for (uint64_t row = 0; row + 1 < shard->token_count; ++row) {
    for (uint32_t j = 0; j < SEED_K; ++j) {
      content->ids[row * SEED_K + j] = (shard->tokens[row + 1] + 7 * j) % SEED_VOCABULARY;
      content->logprob[row * SEED_K + j] = logf(0.4f / (float)(1 + j));
    }
    content->tail_mass[row] = 1 - 0.4f * (1 + 1 / 2.f + 1 / 3.f + 1 / 4.f);
    content->next_logprob[row] = logf(0.4f);
    content->entropy[row] = 1.5f;
  }
}

static void write_plain_cache(const char *path, const lap_token_shard *shard,
                              const lap_cache_content *content, uint64_t chunk_rows) {
  int64_t ids[SEED_TOKENS * SEED_K];
  double logprob[SEED_TOKENS * SEED_K], tail_mass[SEED_TOKENS];
  for (int i = 0; i < SEED_TOKENS * SEED_K; ++i) {
    ids[i] = content->ids[i];
    logprob[i] = (double)content->logprob[i];
  }
  for (int i = 0; i < SEED_TOKENS; ++i) {
    tail_mass[i] = (double)content->tail_mass[i];
    if (chunk_rows) continue;
    for (int j = 0; j < SEED_K; ++j) logprob[i * SEED_K + j] -= log(1 - tail_mass[i]);
    tail_mass[i] = 0; /* a drawn row has none */
  }
  const plain_cache plain = {.format = "lapidary-teacher",
                             .codec = chunk_rows ? "topk" : "sampled",
                             .tokens_sha256 = shard->tokens_sha256,
                             .tokenizer_sha256 = shard->tokenizer_sha256,
                             .teacher = "another program",
                             .format_version = 1,
                             .vocab_size = SEED_VOCABULARY,
                             .k = SEED_K,
                             .draws = chunk_rows ? 0 : 4,
                             .sequence_length = SEED_LENGTH,
                             .document_mask = 1,
                             .without = "",
                             .id_type = H5T_STD_I64LE,
                             .logprob_type = H5T_IEEE_F64LE,
                             .tail_type = H5T_IEEE_F64LE,
                             .rows = SEED_TOKENS,
                             .columns = SEED_K,
                             .logprob_columns = SEED_K,
                             .chunk_rows = chunk_rows,
                             .chunk_columns = 3,
                             .ids = ids,
                             .logprob = logprob,
                             .tail_mass = tail_mass};
  plain_write(path, &plain);
}

static void write_caches(const char *directory) {
  const lap_token_shard *shard = seed_shard();
  const lap_cache_schema schema = {.codec = LAP_CODEC_TOPK,
                                   .vocab_size = SEED_VOCABULARY,
                                   .k = SEED_K,
                                   .sequence_length = SEED_LENGTH,
                                   .document_mask = true,
                                   .teacher = "seed"};
  lap_cache_content content;
  lap_status status;
  fill_content(shard, &content);
  char *path = seed_path(directory, "teacher_cache", "ours.h5");
  must(lap_cache_write(path, &schema, shard, &content, &status), &status);
  free(path);
  path = seed_path(directory, "teacher_cache", "contiguous.h5");
  write_plain_cache(path, shard, &content, 0);
  free(path);
  path = seed_path(directory, "teacher_cache", "chunked.h5");
  write_plain_cache(path, shard, &content, 5);
  free(path);
  lap_cache_content_destroy(&content);
}

/* --- safetensors --- */

static void write_safetensors(const char *directory) {
  static const float values[6] = {0.5f, -1, 2};
  static const uint16_t halves[6] = {0x3C00, 0x8000};
  static const int64_t integers[2] = {5, -1};
  const lap_safetensors_source tensors[] = {
      {"a.weight", LAP_DTYPE_F32, 2, {2, 3}, values}, {"b.weight", LAP_DTYPE_BF16, 1, {6}, halves},
      {"c", LAP_DTYPE_F16, 2, {3, 1}, halves},        {"d", LAP_DTYPE_I64, 1, {2}, integers},
      {"e", LAP_DTYPE_F32, 0, {0}, values},           {"f", LAP_DTYPE_U8, 2, {0, 7}, halves}};
  lap_status status;
  for (size_t count = 0; count <= sizeof tensors / sizeof *tensors; count += 3) {
    char name[32];
    snprintf(name, sizeof name, "tensors-%zu", count);
    char *path = seed_path(directory, "safetensors", name);
    must(lap_safetensors_write(path, tensors, count, &status), &status);
    free(path);
  }
  static const char metadata[] =
      "\x3e\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"},"
      "\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}x";
  write_seed(directory, "safetensors", "metadata", metadata, sizeof metadata - 1);
}

/* --- GGUF --- */

static void write_gguf(const char *directory) {
  static const float values[6] = {0.5f, -1, 2};
  static const char *const texts[] = {"<pad>", "a"};
  lap_gguf *gguf = lap_gguf_create();
  lap_gguf_add_string(gguf, "general.architecture", "gemma2");
  lap_gguf_add_uint32(gguf, "general.alignment", LAP_GGUF_ALIGNMENT);
  lap_gguf_add_float32(gguf, "gemma2.rope.freq_base", 1e4f);
  lap_gguf_add_bool(gguf, "tokenizer.ggml.add_bos_token", true);
  lap_gguf_add_string_array(gguf, "tokenizer.ggml.tokens", texts, 2);
  lap_gguf_add_float32_array(gguf, "tokenizer.ggml.scores", values, 2);
  lap_gguf_add_tensor(gguf, "token_embd.weight", 2, 3, values);
  lap_gguf_add_tensor(gguf, "output_norm.weight", 0, 3, values);
  lap_status status;
  char *path = seed_path(directory, "gguf", "model");
  must(lap_gguf_write(gguf, path, &status), &status);
  free(path);
  lap_gguf_destroy(gguf);
}

static void write_batches(const char *directory) {
  static const int32_t tokens[8] = {2, 5, 6, 7, 2, 8, 9, 1};
  static const int32_t targets[8] = {5, 6, 7, -1, 8, 9, 1, -1};
  static const int32_t ids[16] = {5, 6, 6, 7, 7, 8, 0, 0, 8, 9, 9, 10, 1, 2};
  static const float probabilities[16] = {.5f, .25f, .5f,  .25f, .5f,  .25f, 0,
                                          0,   .5f,  .25f, .5f,  .25f, .5f,  .25f};
  static const float tails[8] = {.25f, .25f, .25f, 0, .25f, .25f, .25f, 0};
  const lap_safetensors_source batch[] = {
      {"tokens", LAP_DTYPE_I32, 2, {2, 4}, tokens},
      {"targets", LAP_DTYPE_I32, 2, {2, 4}, targets},
      {"teacher_ids", LAP_DTYPE_I32, 3, {2, 4, 2}, ids},
      {"teacher_probs", LAP_DTYPE_F32, 3, {2, 4, 2}, probabilities},
      {"teacher_tail", LAP_DTYPE_F32, 2, {2, 4}, tails}};
  lap_status status;
  for (size_t count = 2; count <= 5; count += 3) {
    char *path = seed_path(directory, "probe_batch", count == 2 ? "next-token" : "teacher");
    must(lap_safetensors_write(path, batch, count, &status), &status);
    free(path);
  }
}

/* --- texts --- */

static bool is_yaml(const char *name) {
  const size_t length = strlen(name);
  return length > 5 && strcmp(name + length - 5, ".yaml") == 0;
}

static void write_configs(const char *directory, const char *from) {
  DIR *folder = opendir(from);
  assert(folder);
  for (const struct dirent *entry; (entry = readdir(folder));) {
    if (entry->d_name[0] == '.') continue;
    char *path = lap_format("%s/%s", from, entry->d_name), *text;
    size_t bytes;
    lap_status status;
    if (entry->d_type == DT_DIR) write_configs(directory, path);
    if (is_yaml(entry->d_name)) {
      must(lap_file_read(path, 1 << 16, &text, &bytes, &status), &status);
      write_seed(directory, "config", entry->d_name, text, bytes);
      free(text);
    }
    free(path);
  }
  closedir(folder);
}

static void write_overrides(const char *directory) {
  static const char seed[] =
      "data:\n  train:\n    - {path: 'a/*.h5', weight: 2}\nmodel: {layer_types: [full_attention]}\n"
      "\0schedule.steps=5\nmodel.num_hidden_layers=1\nteacher.cache=\"c\\n\"\noptimizer.beta1=."
      "5\nrun_dir=\xC2\x85\xE2\x80\xA8";
  write_seed(directory, "config", "overrides", seed, sizeof seed - 1);
}

/* What precedes the seal, which the harness makes. */
static void write_manifest(const char *directory, const char *name, bool full) {
  static const char hex[] = "0123456789abcdef0123456789abcdef";
  lap_checkpoint_file files[] = {{.name = "config.resolved.yaml", .bytes = 8},
                                 {.name = "rank-00000.bin", .bytes = 1000}};
  lap_checkpoint_tensor tensors[] = {{.name = "a", .rows = 3, .columns = 10},
                                     {.name = "b", .rows = 1, .columns = 20, .is_vector = true}};
  lap_checkpoint_piece piece[2 * LAP_STATE_KINDS];
  const int kinds = full ? LAP_STATE_KINDS : 1;
  strcpy(files[0].xxh128, hex);
  for (int i = 0; i < 2 * kinds; ++i) {
    piece[i] = (lap_checkpoint_piece){.tensor = i % 2,
                                      .file = 1,
                                      .kind = (lap_state_kind)(i / 2),
                                      .end = i % 2 ? 20 : 30,
                                      .offset = i * 120};
    strcpy(piece[i].xxh128, hex);
  }
  lap_checkpoint_pieces pieces = {files, tensors, piece, 2, 2, 2 * kinds};
  lap_checkpoint checkpoint = {.full = full, .step = 9, .writing_ranks = 3, .pieces = &pieces};
  lap_numbers *numbers = full ? fixture_numbers() : NULL;
  if (full) {
    snprintf(checkpoint.state_sha256, LAP_SHA256_HEX, "%s%s", hex, hex);
    lap_numbers_sha256(numbers, checkpoint.numbers_sha256);
  }
  char *text = lap_manifest_print(&checkpoint, numbers);
  write_seed(directory, "checkpoint_manifest", name, text,
             (size_t)(strstr(text, "  \"manifest_sha256\"") - text));
  free(text);
  if (numbers) lap_numbers_destroy(numbers);
}

static void write_jsons(const char *directory) {
  write_text(directory, "metrics", "steps",
             "{\"step\": 1, \"tokens\": 64, \"loss\": 5.5, \"ce\": 5.5, \"kd\": null, \"kl\": 0.5, "
             "\"grad_norm\": 1.0, \"learning_rate\": 0.001, \"seconds\": 0.1, "
             "\"tokens_per_second\": 640.0, \"skipped\": 1}\n"
             "{\"step\": 1, \"tokens\": 64, \"eval\": {\"loss\": 5.25, \"perplexity\": 190.6}}\n");
  write_text(directory, "metrics", "cut", "{\"step\":2,\"eval\":{\"loss\":1e3}}\n{\"step\":3,\"lo");
  write_text(directory, "run_json", "run",
             "{\"started\": \"2026-11-01T00:00:00Z\", \"versions\": {\"lapidary\": \"0.1.0\", "
             "\"blas\": \"OpenBLAS 0.3.21\"}, \"git_commit\": null, \"ranks\": 2, \"threads\": 1, "
             "\"hosts\": [\"a\", \"b\\u0007\"], \"numbers_sha256\": \"00\", \"previous\": [{}]}\n");
  write_seed(directory, "documents", "file", "\0a text\n", 8);
  write_seed(directory, "documents", "line", "\1one\r\ntwo\n", 10);
  write_seed(directory, "documents", "blank", "\2one\ntwo\n\n \nthree", 17);
  write_text(directory, "documents", "jsonl",
             "\3{\"text\": \"a \\u00e9 \\ud83d\\ude00\"}\n\n{\"text\": \"\", \"n\": [1, -2e3]}\n");
  write_text(directory, "documents", "tolerant",
             "\3{\"n\": NaN, \"t\\u0065xt\": \"\\u0000 \\ud800\"}\r{\"a\": [{}]}\n[1]\n");
  write_seed(directory, "documents", "damaged", "\11\xEF\xBB\xBFone\r\rt\xE9o\0\n", 14);
  /* "one\ntwo\n", packed by gzip and zstd */
  write_seed(directory, "documents", "gzip",
             "\1\x1F\x8B\x08\0\0\0\0\0\2\x03\xCB\xCF\x4B\xE5\x2A\x29\xCF\xE7\x02\0"
             "\xE6\x0B\xBA\x12\x08\0\0\0",
             29);
  write_seed(directory, "documents", "zstd", "\1\x28\xB5\x2F\xFD\0\x58\x41\0\0one\ntwo\n", 18);
}

/* --- Hugging Face --- */

static void write_hugging_face(const char *directory) {
  const lap_gemma2_config model = seed_model();
  lap_parameters *parameters = lap_parameters_create(&model);
  json_t *config, *index = json_object(), *map = json_object();
  lap_status status;
  must(lap_hf_config_make(&model, &config, &status), &status);
  char *text = lap_hf_print_json(config);
  write_text(directory, "hf_config", "ours", text);
  free(text);
  json_decref(config);
  write_text(directory, "hf_config", "defaults",
             "{\"model_type\": \"gemma2\", \"rope_scaling\": null, \"rope_parameters\": "
             "{\"rope_type\": \"default\", \"rope_theta\": 1e4}, \"eos_token_id\": [1, 107], "
             "\"tie_word_embeddings\": true, \"num_hidden_layers\": 2, \"layer_types\": "
             "[\"sliding_attention\", \"full_attention\"]}");
  for (int i = 0; i < parameters->count; ++i) {
    char name[SEED_PART_NAME];
    json_object_set_new(map, parameters->parameter[i].name,
                        json_string(seed_part_name(i % SEED_PARTS, name)));
  }
  json_object_set_new(index, "weight_map", map);
  text = json_dumps(index, JSON_INDENT(1));
  write_text(directory, "hf_index", "index", text);
  free(text);
  json_decref(index);
  lap_parameters_destroy(parameters);
}

/* --- tokenizers: one that lapidary trains, and the smallest that it accepts --- */

static void write_tokenizers(const char *directory) {
  static const char smallest[] =
      "\x0A\x09\x0A\x05<pad>\x18\x03\x0A\x08\x0A\x04</s>\x18\x03\x0A\x07\x0A\x03<s>\x18\x03"
      "\x0A\x09\x0A\x05<unk>\x18\x02\x0A\x08\x0A\x01z\x15\0\0\x80\xBF\x0A\x0A\x0A\x03\xE2\x96\x81"
      "\x15\0\0\0\xC0\x12\x0E\x18\x02\xC0\x02\x03\xC8\x02\x02\xD0\x02\x01\xD8\x02\0"
      "\x1A\x04\x18\0\x20\0";
  static const char *const harnesses[] = {"tokenizer_model", "tokenizer"};
  char *text = lap_format("%s/text", directory);
  lap_status status;
  must(lap_file_write(text, "In the beginning God created\n", 29, &status), &status);
  for (int i = 0; i < 2; ++i) {
    write_seed(directory, harnesses[i], "smallest", smallest, sizeof smallest - 1);
    char *path = seed_path(directory, harnesses[i], "trained");
    const char *texts[] = {text};
    must(train_tokenizer_on(texts, 1, 290, path, &status), &status);
    /* The parser must accept the seeds. */
    lap_tokenizer *tokenizer;
    must(lap_tokenizer_open(path, &tokenizer, &status), &status);
    lap_tokenizer_close(tokenizer);
    free(path);
    path = seed_path(directory, harnesses[i], "smallest");
    must(lap_tokenizer_open(path, &tokenizer, &status), &status);
    lap_tokenizer_close(tokenizer);
    free(path);
  }
  must(lap_file_remove_tree(text, &status), &status);
  free(text);
}

int main(int argc, char **argv) {
  assert(argc == 3);
  const char *directory = argv[1];
  write_token_shards(directory);
  write_caches(directory);
  write_safetensors(directory);
  write_gguf(directory);
  write_batches(directory);
  write_configs(directory, argv[2]);
  write_overrides(directory);
  write_manifest(directory, "weights", false);
  write_manifest(directory, "full", true);
  write_jsons(directory);
  write_hugging_face(directory);
  write_tokenizers(directory);
  return 0;
}
