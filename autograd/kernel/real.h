/* real: autograd is compiled twice from the same source, for float and for double.
 *
 * Everything above core/ in autograd/ is written for `real`. The float build is what trains;
 * the double build is what tests differentiate and what `probe --double` prints. Each build's
 * public names get a suffix, so that both can live in one program; the table below is the only
 * place that knows.
 */
#ifndef LAP_AUTOGRAD_KERNEL_REAL_H
#define LAP_AUTOGRAD_KERNEL_REAL_H

#ifdef LAP_DOUBLE
typedef double real;
#define LAP_PRECISION(name) name##_double
#else
typedef float real;
#define LAP_PRECISION(name) name##_float
#endif

/* kernel/ */
#define lap_vector_max LAP_PRECISION(lap_vector_max)
#define lap_vector_dot LAP_PRECISION(lap_vector_dot)
#define lap_vector_sum_exp LAP_PRECISION(lap_vector_sum_exp)
#define lap_vector_exp LAP_PRECISION(lap_vector_exp)
#define lap_vector_softcap LAP_PRECISION(lap_vector_softcap)
#define lap_gemm LAP_PRECISION(lap_gemm)
#define lap_gemm_tile LAP_PRECISION(lap_gemm_tile)
#define lap_gemv LAP_PRECISION(lap_gemv)
/* op/ */
#define lap_op_embedding LAP_PRECISION(lap_op_embedding)
#define lap_op_rmsnorm LAP_PRECISION(lap_op_rmsnorm)
#define lap_op_copy_to_shards LAP_PRECISION(lap_op_copy_to_shards)
#define lap_op_column_linear LAP_PRECISION(lap_op_column_linear)
#define lap_op_row_linear LAP_PRECISION(lap_op_row_linear)
#define lap_op_rope LAP_PRECISION(lap_op_rope)
#define lap_op_attention LAP_PRECISION(lap_op_attention)
#define lap_op_geglu LAP_PRECISION(lap_op_geglu)
#define lap_op_residual LAP_PRECISION(lap_op_residual)
#define lap_op_lm_head_loss LAP_PRECISION(lap_op_lm_head_loss)
#define lap_lm_head_chunk LAP_PRECISION(lap_lm_head_chunk)
#define lap_lm_head_logits LAP_PRECISION(lap_lm_head_logits)
#define lap_lm_head_logits_size LAP_PRECISION(lap_lm_head_logits_size)
#define lap_loss_row LAP_PRECISION(lap_loss_row)
#define lap_row_begin LAP_PRECISION(lap_row_begin)
#define lap_row_masses LAP_PRECISION(lap_row_masses)
#define lap_row_coefficients_of LAP_PRECISION(lap_row_coefficients_of)
#define lap_row_gradient LAP_PRECISION(lap_row_gradient)
#define lap_folded_shards LAP_PRECISION(lap_folded_shards)
#define lap_rope_table LAP_PRECISION(lap_rope_table)
/* tape/ */
#define lap_tape_create LAP_PRECISION(lap_tape_create)
#define lap_tape_destroy LAP_PRECISION(lap_tape_destroy)
#define lap_tape_block LAP_PRECISION(lap_tape_block)
#define lap_tape_parameter LAP_PRECISION(lap_tape_parameter)
#define lap_tape_record LAP_PRECISION(lap_tape_record)
#define lap_tape_plan LAP_PRECISION(lap_tape_plan)
#define lap_tape_layout LAP_PRECISION(lap_tape_layout)
#define lap_tape_bytes LAP_PRECISION(lap_tape_bytes)
#define lap_tape_scratch_bytes LAP_PRECISION(lap_tape_scratch_bytes)
#define lap_tape_run LAP_PRECISION(lap_tape_run)
#define lap_tape_value LAP_PRECISION(lap_tape_value)
#define lap_tape_walk LAP_PRECISION(lap_tape_walk)
#define lap_tape_profile LAP_PRECISION(lap_tape_profile)
#define lap_tape_profile_reset LAP_PRECISION(lap_tape_profile_reset)
#define lap_tape_flops LAP_PRECISION(lap_tape_flops)
#define lap_tape_flops_of LAP_PRECISION(lap_tape_flops_of)
/* gemma2/ */
#define lap_gemma2_record LAP_PRECISION(lap_gemma2_record)
#define lap_gemma2_bytes LAP_PRECISION(lap_gemma2_bytes)
#define lap_gemma2_destroy LAP_PRECISION(lap_gemma2_destroy)
#define lap_gemma2_replay LAP_PRECISION(lap_gemma2_replay)
#define lap_gemma2_run LAP_PRECISION(lap_gemma2_run)
#define lap_gemma2_logits LAP_PRECISION(lap_gemma2_logits)
#define lap_gemma2_bucket_logits LAP_PRECISION(lap_gemma2_bucket_logits)
#define lap_gemma2_join_logits LAP_PRECISION(lap_gemma2_join_logits)
#define lap_gemma2_logits_bytes LAP_PRECISION(lap_gemma2_logits_bytes)
#define lap_decoder_create LAP_PRECISION(lap_decoder_create)
#define lap_decoder_destroy LAP_PRECISION(lap_decoder_destroy)
#define lap_decoder_prefill LAP_PRECISION(lap_decoder_prefill)
#define lap_decoder_step LAP_PRECISION(lap_decoder_step)
#define lap_decoder_position LAP_PRECISION(lap_decoder_position)
#define lap_decoder_max_positions LAP_PRECISION(lap_decoder_max_positions)
#define lap_decoder_reset LAP_PRECISION(lap_decoder_reset)
#define lap_decoder_cache_bytes LAP_PRECISION(lap_decoder_cache_bytes)

#endif
