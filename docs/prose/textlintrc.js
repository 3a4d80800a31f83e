// The configuration of textlint for `make lint`: no word of words.txt (word, or word > better word).
const path = require("node:path");

module.exports = {
	rules: {
		"stop-words": { defaultWords: false, skip: [], words: path.join(__dirname, "words.txt") },
	},
};
