// What llama.cpp makes of a GGUF file: node llama_cpp.mjs REQUEST.json
//
// REQUEST: model, the file; texts, to be tokenized; evaluate, ids whose logits are wanted at every
// position (none: no logits); logits, where these go, as float32 [positions, vocabulary]; prompt,
// ids to continue greedily; count, by how many (0: not at all).
// Prints, as JSON: tokens, the ids of each text; decoded, the text of these ids again; bos, eos, eot,
// addBos, window and trainContextSize, as the file says; generated, the ids that follow the prompt.
// Keys and values of attention are kept as float32 and flash attention is off, on the CPU: nothing
// is rounded that the model does not round.
import fs from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

const library = path.join(process.env.LAPIDARY_INTEROP_HOME,
    "node_modules/node-llama-cpp/dist/index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(library));
const request = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));

const llama = await getLlama(
    {gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.warn});
const model = await llama.loadModel({modelPath: request.model, gpuLayers: 0});

async function freshSequence() {
    const context = await model.createContext({
        contextSize: 512,
        threads: 1, // more of them spin, and a test shares the machine
        flashAttention: false,
        experimentalKvCacheKeyType: "F32",
        experimentalKvCacheValueType: "F32"
    });
    return context.getSequence();
}

async function evaluate(ids) {
    const sequence = await freshSequence();
    const output = await sequence.controlledEvaluate(
        ids.map((id) => [id, {generateNext: {logits: true}}]));
    const logits = output.map((position) => {
        const row = new Float32Array(position.next.logits.size).fill(NaN);
        for (const [id, logit] of position.next.logits)
            row[id] = logit;
        return row;
    });
    fs.writeFileSync(request.logits, Buffer.concat(logits.map((row) => Buffer.from(row.buffer))));
}

async function generate(prompt, count) {
    const sequence = await freshSequence();
    const generated = [];
    for await (const id of sequence.evaluate(prompt, {temperature: 0})) {
        generated.push(id);
        if (generated.length === count)
            break;
    }
    return generated;
}

if (request.evaluate.length > 0)
    await evaluate(request.evaluate);
const tokens = request.texts.map((text) => model.tokenize(text, false));
console.log(JSON.stringify({
    tokens,
    decoded: tokens.map((ids) => model.detokenize(ids)),
    bos: model.tokens.bos,
    eos: model.tokens.eos,
    eot: model.tokens.eot,
    addBos: model.tokens.shouldPrependBosToken,
    window: model.fileInsights.swaSize,
    trainContextSize: model.trainContextSize,
    generated: request.count > 0 ? await generate(request.prompt, request.count) : []
}));
await llama.dispose();
