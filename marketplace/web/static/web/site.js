// Everything a page needs beyond plain HTML. Pages work without it: forms post, links lead somewhere.
import "./forms.js";
import "./drop.js";
import "./upload.js";
import "./compose.js";
import "./bids.js";
import { start } from "./live.js";

start();
