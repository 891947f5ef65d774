#include "trainer/report/tensorboard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/report/json_file.h"

/* --- records --- */

/* CRC-32C (Castagnoli), bit by bit: curves are short. */
static uint32_t crc32c(const uint8_t *bytes, size_t count) {
  uint32_t crc = UINT32_MAX;
  for (size_t i = 0; i < count; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82F63B78) : 0);
  }
  return ~crc;
}

/* As TFRecord stores it: rotated, and moved by a constant. */
static uint32_t masked(const uint8_t *bytes, size_t count) {
  const uint32_t crc = crc32c(bytes, count);
  return (crc >> 15 | crc << 17) + UINT32_C(0xA282EAD8);
}

static void write_little(FILE *out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) fputc((int)(value >> 8 * i & 0xFF), out);
}

static void write_record(FILE *out, const char *message, size_t count) {
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = (uint8_t)((uint64_t)count >> 8 * i);
  fwrite(length, 1, sizeof length, out);
  write_little(out, masked(length, sizeof length), 4);
  fwrite(message, 1, count, out);
  write_little(out, masked((const uint8_t *)message, count), 4);
}

/* --- messages --- */

enum { VARINT = 0, FIXED_64 = 1, BYTES = 2, FIXED_32 = 5 };
/* Event: wall_time, step, file_version, summary. Summary: value. Value: tag, simple_value. */
enum {
  WALL_TIME = 1,
  STEP = 2,
  FILE_VERSION = 3,
  SUMMARY = 5,
  VALUE = 1,
  TAG = 1,
  SIMPLE_VALUE = 2
};

static void write_varint(FILE *out, uint64_t value) {
  for (; value > 0x7F; value >>= 7) fputc((int)(value & 0x7F) | 0x80, out);
  fputc((int)value, out);
}

static void write_key(FILE *out, int field, int kind) {
  write_varint(out, (uint64_t)field << 3 | (uint64_t)kind);
}

static void write_bytes(FILE *out, int field, const char *bytes, size_t count) {
  write_key(out, field, BYTES);
  write_varint(out, count);
  fwrite(bytes, 1, count, out);
}

static void write_version(FILE *out) {
  static const char VERSION[] = "brain.Event:2";
  char *message = NULL;
  size_t size = 0;
  FILE *event = lap_open_text(&message, &size);
  write_key(event, WALL_TIME, FIXED_64);
  write_little(event, 0, 8);
  write_bytes(event, FILE_VERSION, VERSION, strlen(VERSION));
  lap_close_text(event, &message);
  write_record(out, message, size);
  free(message);
}

static void write_scalar(FILE *out, const char *tag, double tokens, double number) {
  char *value = NULL, *message = NULL;
  size_t value_size = 0, size = 0;
  const float narrow = (float)number;
  uint32_t bits;
  memcpy(&bits, &narrow, sizeof bits);
  FILE *inner = lap_open_text(&value, &value_size);
  write_bytes(inner, TAG, tag, strlen(tag));
  write_key(inner, SIMPLE_VALUE, FIXED_32);
  write_little(inner, bits, 4);
  lap_close_text(inner, &value);
  FILE *event = lap_open_text(&message, &size);
  write_key(event, WALL_TIME, FIXED_64);
  write_little(event, 0, 8);
  write_key(event, STEP, VARINT);
  write_varint(event, (uint64_t)tokens);
  char *summary = NULL;
  size_t summary_size = 0;
  FILE *middle = lap_open_text(&summary, &summary_size);
  write_bytes(middle, VALUE, value, value_size);
  lap_close_text(middle, &summary);
  write_bytes(event, SUMMARY, summary, summary_size);
  lap_close_text(event, &message);
  write_record(out, message, size);
  free(summary);
  free(message);
  free(value);
}

/* --- runs --- */

static void write_curve(FILE *out, const json_t *curve, const char *loss, const char *kl) {
  for (size_t i = 0; i < json_array_size(curve); ++i) {
    const json_t *row = json_array_get(curve, i);
    const double tokens = json_number_value(json_array_get(row, 0));
    if (json_is_number(json_array_get(row, 1)))
      write_scalar(out, loss, tokens, json_number_value(json_array_get(row, 1)));
    if (json_is_number(json_array_get(row, 2)))
      write_scalar(out, kl, tokens, json_number_value(json_array_get(row, 2)));
  }
}

static lap_code write_run(const char *arm, const json_t *run, const char *directory,
                          lap_status *status) {
  char *text = NULL, *name = lap_copy_string(arm);
  for (char *slash = name; (slash = strchr(slash, '/'));) *slash = '-';
  char *path = lap_format("%s/%s-seed-%" PRId64 "/events.out.tfevents.0.lapidary", directory, name,
                          lap_json_integer(run, "seed"));
  size_t size = 0;
  FILE *out = lap_open_text(&text, &size);
  write_version(out);
  write_curve(out, json_object_get(run, "curve"), "train/loss", "train/kl");
  write_curve(out, json_object_get(run, "evals"), "eval/loss", "eval/kl");
  lap_close_text(out, &text);
  const lap_code code = lap_file_write(path, text, size, status);
  free(text);
  free(path);
  free(name);
  return code;
}

lap_code lap_report_write_tensorboard(const json_t *report, const char *directory,
                                      lap_status *status) {
  const json_t *arms = json_object_get(report, "arms");
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    const json_t *arm = json_array_get(arms, i), *runs = json_object_get(arm, "runs");
    for (size_t r = 0; r < json_array_size(runs); ++r)
      if (json_array_size(json_object_get(json_array_get(runs, r), "curve")) > 0)
        LAP_TRY(write_run(lap_json_text(arm, "name"), json_array_get(runs, r), directory, status));
  }
  return LAP_OK;
}
