#include "trainer/attend/picture.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/memory.h"

enum { LEVELS = 256 };

/* --- PNG: https://www.w3.org/TR/png-3/ --- */

static void put_number(uint8_t *bytes, uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void write_chunk(FILE *out, const char *type, const void *data, size_t count) {
  uint8_t number[4];
  put_number(number, (uint32_t)count);
  fwrite(number, 1, 4, out);
  fwrite(type, 1, 4, out);
  fwrite(data, 1, count, out);
  uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)type, 4);
  if (count > 0) crc = crc32(crc, data, (uInt)count);
  put_number(number, (uint32_t)crc);
  fwrite(number, 1, 4, out);
}

/* Rows of palette indices, each behind the byte of its filter: none. */
static uint8_t *compress_rows(const float *map, int64_t length, size_t *count) {
  const size_t raw = (size_t)(length * (length + 1));
  uint8_t *rows = lap_allocate((int64_t)raw, 1);
  for (int64_t i = 0; i < length; ++i)
    for (int64_t j = 0; j < length; ++j)
      rows[i * (length + 1) + 1 + j] = (uint8_t)lrintf(255 * sqrtf(map[i * length + j]));
  uLongf bytes = compressBound((uLong)raw);
  uint8_t *packed = lap_allocate((int64_t)bytes, 1);
  const int outcome = compress2(packed, &bytes, rows, (uLong)raw, Z_BEST_COMPRESSION);
  assert(outcome == Z_OK);
  (void)outcome;
  free(rows);
  *count = bytes;
  return packed;
}

static char *write_png(const float *map, int64_t length, size_t *count) {
  static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  static const uint8_t colour[3] = {0x2F, 0x7D, 0xE1};
  uint8_t header[13] = {[8] = 8, [9] = 3}; /* 8 bits, indexed */
  uint8_t palette[3 * LEVELS], opacity[LEVELS];
  put_number(header, (uint32_t)length);
  put_number(header + 4, (uint32_t)length);
  for (int level = 0; level < LEVELS; ++level) {
    memcpy(palette + (size_t)3 * (size_t)level, colour, 3);
    opacity[level] = (uint8_t)level;
  }
  size_t packed_count;
  uint8_t *packed = compress_rows(map, length, &packed_count);
  char *png;
  FILE *out = lap_open_text(&png, count);
  fwrite(signature, 1, sizeof signature, out);
  write_chunk(out, "IHDR", header, sizeof header);
  write_chunk(out, "PLTE", palette, sizeof palette);
  write_chunk(out, "tRNS", opacity, sizeof opacity);
  write_chunk(out, "IDAT", packed, packed_count);
  write_chunk(out, "IEND", "", 0);
  lap_close_text(out, &png);
  free(packed);
  return png;
}

char *lap_attention_picture(const float *map, int64_t length) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static const char prefix[] = "data:image/png;base64,";
  size_t count;
  char *png = write_png(map, length, &count);
  char *text = lap_allocate((int64_t)(sizeof prefix + (count + 2) / 3 * 4), 1);
  char *at = stpcpy(text, prefix);
  for (size_t i = 0; i < count; i += 3) {
    uint32_t bits = 0;
    for (size_t b = 0; b < 3; ++b) bits = bits << 8 | (i + b < count ? (uint8_t)png[i + b] : 0);
    for (int d = 0; d < 4; ++d)
      *at++ = i + (size_t)d <= count ? digits[bits >> (18 - 6 * d) & 63] : '=';
  }
  *at = '\0';
  free(png);
  return text;
}
