// Loaded before the first paint, apart from the rest, so that a chosen theme never flashes.
import { applyTheme } from "./theme";

applyTheme();
